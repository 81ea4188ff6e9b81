from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe
from tests.api.conftest import RECIPE, write_recipe


def test_none_named_means_all_recipes_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_recipe(tmp_path, name)
    assert [recipe.name for recipe in api.load_recipes([])] == ["a", "b", "c"]
    assert [recipe.name for recipe in api.load_recipes(["c", "recipes/a.yaml"])] == ["c", "a"]
    assert [recipe.name for recipe in api.load_recipes([], tmp_path)] == ["a", "b", "c"]


def test_a_folder_without_recipes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        api.load_recipes([])
    assert str(raised.value) == (
        f"no recipes in {tmp_path}/recipes\n  hint: `envbuilder init NAME` writes one to start from"
    )


def test_init_writes_where_it_is_told(tmp_path: Path) -> None:
    assert api.init("a", root=tmp_path / "root") == tmp_path / "root" / "recipes" / "a.yaml"
    assert api.init("sub/b.yml") == Path("sub/b.yml")
    assert load_recipe(Path("sub/b.yml")).name == "b"


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "a", "# mine\n")
    with pytest.raises(RecipeError, match="already exists"):
        api.init("a")
    assert path.read_text() == RECIPE + "# mine\n"


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    Path("recipes").write_text("a file")
    with pytest.raises(RecipeError) as raised:
        api.init("a")
    assert raised.value.message == f"{tmp_path}/recipes/a.yaml cannot be written: File exists"


def test_init_takes_back_what_makes_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown Triton release"):
        api.init("a", triton="22.01")
    assert list(Path("recipes").glob("*")) == []


def test_lock_check_reads_and_writes_nothing_else(locked: Path) -> None:
    before = sorted(path for path in locked.parent.rglob("*"))
    result = api.lock(load_recipe(locked), check=True)
    assert (result.changed, result.path, result.demands) == (
        False,
        locked.parent / "pylock.small.toml",
        ("numpy<2",),
    )
    assert sorted(path for path in locked.parent.rglob("*")) == before
