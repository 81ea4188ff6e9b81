from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.recipe.location import where
from tests.helpers.wheels import small_recipe


@pytest.mark.parametrize(("name", "line"), [("torch-vision", 4), ("numpy", 3), ("scipy", 2)])
def test_the_line_of_what_is_asked_for_else_of_its_key(name: str, line: int, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    recipe.path.write_text("provider: conda\ndependencies:\n  - numpy\n  - torch_vision>1\n")
    expected = f"{recipe.path}:{line}" if name != "scipy" else where(recipe, "dependencies", "scipy")
    assert where(recipe, "dependencies", name) == expected
    assert where(recipe, "conda", name) == f"{recipe.path}:1"


def test_a_file_that_changed_since(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    assert where(recipe, "dependencies", "numpy") == str(recipe.path)
