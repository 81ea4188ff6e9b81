from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe

PLAIN = """\
triton: "25.06"
torch: "2.7.1"
cuda: cu126
"""


def write(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refuse(folder: Path, text: str | bytes) -> tuple[str, str | None]:
    """Return what is said of the recipe *text*, without its path, and the hint."""
    path = write(folder, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith(str(path))
    return caught.value.message.removeprefix(str(path)), caught.value.hint
