"""Complete a request for verification with the archive's recipe and lock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.errors import IntegrityError
from envbuilder.lockfile.check import with_wheelhouse
from envbuilder.lockfile.model import WHEELHOUSE
from envbuilder.lockfile.pylock import read_lock
from envbuilder.progress import Reporter
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe, VerifyOptions
from envbuilder.store.session import Session
from envbuilder.verification.request import VerifyRequest


def complete_request(
    request: VerifyRequest, archive: Path, session: Session, *, lock: Path | None, root: Path
) -> tuple[VerifyRequest, Session]:
    """Return *request* with defaults filled in, and *session* with the wheelhouses next to recipe and lock.

    Defaults come from ``verify:`` of the recipe from which *archive* was built, if it is in ``recipes/`` of *root*.

    Raises:
        RecipeError: the recipe is invalid.
        StaleLockError, IntegrityError: the lock is missing or invalid.
    """
    recipe = _recipe_of(archive, root, session.reporter)
    options = recipe.verify if recipe is not None else VerifyOptions()
    settings = session.settings if recipe is None else with_wheelhouse(recipe, session.settings)
    if lock is not None:
        settings = replace(settings, find_links=(str(lock.parent / WHEELHOUSE), *settings.find_links))
    choice = request.server
    if choice.ask is None and not options.server:
        choice = replace(choice, ask=False)
    # The recipe's inputs and tolerances are for the recipe's own model.
    models = request.models
    if models.repository is None and models.model in (None, options.model):
        given = (options.inputs, options.expected) if models.inputs is None else (models.inputs, None)
        models = replace(
            models, model=options.model, inputs=given[0], expected=given[1], tolerance=options.tolerance
        )
    unsaid = request.models.model is None and models.repository is None
    completed = replace(
        request,
        model=models.model,
        choice=models,
        compile=options.compile if unsaid else {},
        server=choice,
        lock=None if lock is None else read_lock(lock),
        options=options,
        recipe=recipe,
    )
    return completed, replace(session, settings=settings)


def _recipe_of(archive: Path, root: Path, reporter: Reporter) -> Recipe | None:
    """Return the recipe that *archive* was built from; one that changed since is ignored with a note."""
    try:
        manifest = read_manifest(manifest_beside(archive))
    except (OSError, IntegrityError):
        return None  # verification itself reports what is wrong with it
    path = root / "recipes" / f"{manifest.recipe}.yaml"
    if not path.is_file():
        return None
    recipe = load_recipe(path)
    if recipe.digest() != manifest.recipe_digest:
        reporter.note(f"{path} changed since {archive.name} was built of it: its verify: is not used")
        return None
    return recipe
