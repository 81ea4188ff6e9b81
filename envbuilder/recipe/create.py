"""Create a recipe: its path, and writing it."""

from __future__ import annotations

import re
from pathlib import Path

from envbuilder.errors import RecipeError
from envbuilder.recipe.load import parse_recipe
from envbuilder.recipe.schema import SCHEMA_FILE, schema_text
from envbuilder.util.files import atomic_create, atomic_write
from envbuilder.util.tempdirs import draft_folder, output_folder
from envbuilder.util.yaml import read_document


def recipe_path(name: str, root: Path) -> Path:
    """Return the path of the recipe *name*: ``recipes/NAME.yaml`` in *root*, or *name* itself if it is a path."""
    return Path(name) if name.endswith((".yaml", ".yml")) else root / "recipes" / f"{name}.yaml"


def write_recipe(path: Path, text: str) -> None:
    """Write a new recipe, and the schema for editors beside it; an invalid recipe is not written.

    Raises:
        RecipeError: it exists already, or is invalid.
    """
    try:
        with output_folder(path.parent), draft_folder(path.parent, path.name) as folder:
            draft = folder / path.name
            draft.write_text(text)
            try:
                parse_recipe(read_document(draft), path, path.stem)
            except RecipeError as error:
                # It was given on the command line, not in the file, which is gone.
                message = re.sub(rf"^{re.escape(str(draft))}(:\d+)?: ", "", error.message)
                raise RecipeError(message, hint=error.hint) from error
            atomic_create(path, draft)
            atomic_write(
                path.parent / SCHEMA_FILE, schema_text().encode()
            )  # what the first line tells editors
    except FileExistsError as error:
        if not path.exists():  # what is there is a file where the folder should be
            raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
        raise RecipeError(
            f"{path} already exists", hint="edit it, delete it, or choose another name"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
