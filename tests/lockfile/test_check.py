from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import StaleLockError
from envbuilder.lockfile.check import check_lock, with_wheelhouse
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.recipe.model import Recipe
from tests.helpers.wheels import small_lock, small_recipe, write_wheel

INTERPRETER = LockedInterpreter(version="3.11.7", origin="host", digest="ab" * 32)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe with a local wheel, and its lock."""
    artifact = write_wheel(tmp_path / "own", "alpha")
    wheel = tmp_path / "own" / artifact.filename
    recipe = replace(small_recipe(tmp_path), dependencies=(f"alpha @ file://{wheel}",))
    write_lock(small_lock(recipe, [artifact], INTERPRETER), lock_path(recipe))
    return recipe


def test_a_current_lock(recipe: Recipe) -> None:
    assert [one.name for one in check_lock(recipe).artifacts] == ["alpha"]


def test_a_recipe_that_changed(recipe: Recipe) -> None:
    with pytest.raises(StaleLockError, match=r"small\.yaml changed since it was locked"):
        check_lock(replace(recipe, torch="2.12.0"))


def test_a_wheel_that_changed(recipe: Recipe) -> None:
    write_wheel(recipe.path.parent / "own", "alpha", files={"alpha.py": b"another\n"})
    with pytest.raises(StaleLockError, match=r"alpha-1\.0-py3-none-any\.whl changed since it was locked"):
        check_lock(recipe)


def test_no_lock_and_another_recipes(recipe: Recipe) -> None:
    path = lock_path(recipe)
    write_lock(
        small_lock(small_recipe(path.parent, "other"), check_lock(recipe).artifacts, INTERPRETER), path
    )
    with pytest.raises(StaleLockError, match="is the lock of recipe other, not of small"):
        check_lock(recipe)
    path.unlink()
    with pytest.raises(StaleLockError, match="recipe small is not locked") as caught:
        check_lock(recipe)
    assert caught.value.hint == recipe.lock_command


def test_fetching_knows_what_lies_beside_the_recipe(recipe: Recipe) -> None:
    settings = Settings(find_links=("https://example.com/links",))
    assert with_wheelhouse(recipe, settings).find_links[1:] == (str(recipe.path.parent / "own"),)
    (recipe.path.parent / "wheelhouse").mkdir()
    assert with_wheelhouse(recipe, settings).find_links == (
        "https://example.com/links",
        str(recipe.path.parent / "wheelhouse"),
        str(recipe.path.parent / "own"),
    )
