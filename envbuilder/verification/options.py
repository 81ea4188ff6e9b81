"""The recipe of an archive, which says how it is to be verified."""

from __future__ import annotations

from pathlib import Path

from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.errors import IntegrityError
from envbuilder.progress import Reporter
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe


def recipe_of(archive: Path, root: Path, reporter: Reporter) -> Recipe | None:
    """Return the recipe that *archive* was built of, or None where ``recipes/`` of *root* has none.

    A recipe that changed since counts as none, which *reporter* is told.

    Raises:
        RecipeError: the recipe cannot be understood.
    """
    try:
        manifest = read_manifest(manifest_beside(archive))
    except (OSError, IntegrityError):
        return None  # verification itself says what is wrong with it
    path = root / "recipes" / f"{manifest.recipe}.yaml"
    if not path.is_file():
        return None
    recipe = load_recipe(path)
    if recipe.digest() != manifest.recipe_digest:
        reporter.note(f"{path} changed since {archive.name} was built of it: its verify: is not used")
        return None
    return recipe
