"""What the recipe of an archive says of its verification."""

from __future__ import annotations

from pathlib import Path

from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.errors import IntegrityError
from envbuilder.progress import Reporter
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import VerifyOptions


def recipe_options(archive: Path, root: Path, reporter: Reporter) -> VerifyOptions:
    """Return ``verify:`` of the recipe that *archive* was built of; the defaults where ``recipes/`` of *root* has none.

    A recipe that changed since counts as none, which *reporter* is told.

    Raises:
        RecipeError: the recipe cannot be understood.
    """
    try:
        manifest = read_manifest(manifest_beside(archive))
    except (OSError, IntegrityError):
        return VerifyOptions()  # verification itself says what is wrong with it
    path = root / "recipes" / f"{manifest.recipe}.yaml"
    if not path.is_file():
        return VerifyOptions()
    recipe = load_recipe(path)
    if recipe.digest() != manifest.recipe_digest:
        reporter.note(f"{path} changed since {archive.name} was built of it: its verify: is not used")
        return VerifyOptions()
    return recipe.verify
