"""Files next to a recipe are searched too: its wheelhouse and the folders of its local wheels."""

from __future__ import annotations

from dataclasses import replace

from envbuilder.lockfile.check import with_wheelhouse
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session


def with_files_beside(recipe: Recipe, session: Session) -> Session:
    """Return the session to fetch with for *recipe*; a lock is resolved without these files."""
    return replace(session, settings=with_wheelhouse(recipe, session.settings))
