from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.assemble.packing import pack_options
from envbuilder.errors import IntegrityError
from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.transfer.expected import ANYTHING, wanted_of
from tests.helpers.inventories import manifest_of
from tests.helpers.wheels import small_lock, small_recipe


def test_what_an_archive_of_a_recipe_must_be(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    lock = small_lock(recipe, [], LockedInterpreter(version="3.11.7", origin="host", digest="a" * 64))
    wanted = wanted_of(recipe, lock)
    good = manifest_of(
        recipe_digest=lock.recipe_digest, lock_digest=lock_digest(lock), pack=pack_options(recipe)
    )
    wanted.check(good, "there")
    ANYTHING.check(manifest_of(), "there")
    for change, said in (
        ({"recipe": "other"}, "recipe other, not small"),
        ({"lock_digest": "f" * 64}, f"lock {'f' * 12}, not {lock_digest(lock)[:12]}"),
        ({"release": "25.06"}, "release 25.06, not pytriton-0.7.0"),
        ({"pack": {"level": 1}}, "other options of packing"),
    ):
        with pytest.raises(IntegrityError, match=f"^there is not what was asked for: {said}"):
            wanted.check(replace(good, **change), "there")
