from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.create import recipe_path, write_recipe
from envbuilder.recipe.template import template


def test_where_a_recipe_goes() -> None:
    assert recipe_path("a", Path("/p")) == Path("/p/recipes/a.yaml")
    assert recipe_path("b/a.yml", Path("/p")) == Path("b/a.yml")


def test_a_recipe_and_the_schema_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "recipes" / "a.yaml"
    write_recipe(path, template("a"))
    assert sorted(one.name for one in path.parent.iterdir()) == ["a.yaml", "recipe.schema.json"]
    with pytest.raises(RecipeError, match=r"a\.yaml already exists"):
        write_recipe(path, template("a"))


def test_what_cannot_be_loaded_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        write_recipe(tmp_path / "new" / "a.yaml", template("a", cuda="cu130", torch="2.7.1"))
    assert str(tmp_path) not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "recipes").touch()
    with pytest.raises(RecipeError, match=r"a\.yaml cannot be written: "):
        write_recipe(tmp_path / "recipes" / "a.yaml", template("a"))
