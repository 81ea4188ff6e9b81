from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.template import template


@pytest.mark.parametrize(
    "choice", [{}, {"triton": "25.06"}, {"triton": "26.06", "cuda": "cu126"}, {"cuda": "cu118"}]
)
def test_it_loads_whatever_was_chosen(choice: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(template("mine", **choice))
    recipe = load_recipe(path)
    assert recipe.cuda == choice.get("cuda", "cpu")
    assert recipe.triton == choice.get("triton", recipe.triton)


def test_what_is_commented_loads_too(tmp_path: Path) -> None:
    lines = template("mine", "25.06").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("# system-libraries"))
    lines[first] = lines[first].removeprefix("# ")
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    assert load_recipe(tmp_path / "mine.yaml").system_libraries == ("libGL.so.1",)


def test_it_says_what_the_release_adds() -> None:
    text = template("mine", "25.06")
    assert f"# The release itself adds: {', '.join(find_release('25.06').demands)}" in text
    with pytest.raises(RecipeError):
        template("mine", "1.0")
