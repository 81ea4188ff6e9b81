"""What is asked of an archive: what a caller says, and what its recipe and its lock say besides."""

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
from envbuilder.verification.run import VerifyRequest


def complete_request(
    request: VerifyRequest, archive: Path, session: Session, *, lock: Path | None, root: Path
) -> tuple[VerifyRequest, Session]:
    """Return *request* with what it does not say, and *session* with the wheelhouses that lie beside recipe and lock.

    That is ``verify:`` of the recipe that *archive* was built of, where ``recipes/`` of *root* has it, and the *lock*.

    Raises:
        RecipeError: the recipe cannot be understood.
        StaleLockError, IntegrityError: the lock is not there, or is none.
    """
    recipe = _recipe_of(archive, root, session.reporter)
    options = recipe.verify if recipe is not None else VerifyOptions()
    settings = session.settings if recipe is None else with_wheelhouse(recipe, session.settings)
    if lock is not None:
        settings = replace(settings, find_links=(str(lock.parent / WHEELHOUSE), *settings.find_links))
    choice = request.server
    if choice.ask is None and not options.server:
        choice = replace(choice, ask=False)
    completed = replace(
        request,
        model=request.model or options.model,
        compile=options.compile if request.model is None else {},
        server=choice,
        lock=None if lock is None else read_lock(lock),
        options=options,
        recipe=recipe,
    )
    return completed, replace(session, settings=settings)


def _recipe_of(archive: Path, root: Path, reporter: Reporter) -> Recipe | None:
    """Return the recipe that *archive* was built of; one that changed since counts as none, which is told."""
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
