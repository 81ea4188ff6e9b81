"""A recipe that is not there yet: where it goes, and how it gets there."""

from __future__ import annotations

import re
from pathlib import Path

from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.schema import SCHEMA_FILE, schema_text


def recipe_path(name: str, root: Path) -> Path:
    """Return where the recipe *name* goes: ``recipes/NAME.yaml`` in *root*, or *name* itself where it is a path."""
    return Path(name) if name.endswith((".yaml", ".yml")) else root / "recipes" / f"{name}.yaml"


def write_recipe(path: Path, text: str) -> None:
    """Write a recipe that is not there yet, and the schema for editors beside it; what cannot be loaded goes again.

    Raises:
        RecipeError: there is one already, or it is no possible recipe.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        if path.exists():
            raise RecipeError(f"{path} is there already", hint="choose another name, or edit it") from None
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
    try:
        load_recipe(path)
    except RecipeError as error:
        path.unlink()
        # It was said on the command line, not in the file, which is gone.
        said = re.sub(rf"^{re.escape(str(path))}(:\d+)?: ", "", error.message)
        raise RecipeError(said, hint=error.hint) from error
    (path.parent / SCHEMA_FILE).write_text(schema_text())  # what the recipe's first line tells editors
