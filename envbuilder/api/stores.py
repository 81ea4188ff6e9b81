"""Remote stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.archive.names import ENVS
from envbuilder.recipe.load import find_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.transfer.aliases import Alias
    from envbuilder.transfer.archives import Transfer


def push(
    what: Recipe | StrPath,
    *,
    output: StrPath = ENVS,
    interpreter_change: bool = False,
    reports: Sequence[Path] = (),
    session: Session | None = None,
) -> Transfer:
    """Upload an archive to the store elsewhere; of a recipe, which is built where it is not, all that it is made of.

    See :func:`envbuilder.transfer.push_pull.push_archive` and :func:`~envbuilder.transfer.push_pull.push_recipe`.

    Raises:
        RecipeError: no store is named.
        StaleLockError: the lock is not the recipe's.
    """
    from envbuilder.transfer.push_pull import push_archive, push_recipe

    if not isinstance(what, Recipe):
        return push_archive(Path(what), (session or Session.open()).at(Path.cwd()), reports=reports)
    return push_recipe(
        what,
        (session or Session.open()).at(what.path.parent),
        output=Path(output),
        interpreter_change=interpreter_change,
        reports=reports,
    )


def pull(name: str, *, output: StrPath = ENVS, session: Session | None = None) -> Transfer:
    """Bring an archive from the store elsewhere: by its name, its digest, an alias, or the recipe that it is built of.

    Raises:
        RecipeError: no store is named, or there is no such recipe.
        StaleLockError: the lock is not the recipe's.
        StoreError, IntegrityError: see :func:`envbuilder.transfer.push_pull.pull_build`.
    """
    from envbuilder.lockfile.check import check_lock
    from envbuilder.transfer.lookup import names_an_archive
    from envbuilder.transfer.push_pull import pull_archive, pull_build

    if names_an_archive(name) and not _is_recipe(name):
        return pull_archive(name, (session or Session.open()).at(Path.cwd()), Path(output))
    recipe = find_recipe(name, Path.cwd())
    return pull_build(
        recipe, check_lock(recipe), (session or Session.open()).at(recipe.path.parent), Path(output)
    )


def find_pushed(name: str, output: Path) -> Recipe | Path:
    """Return what ``push NAME`` is about: an archive by its path, its name or its digest in *output*, else a recipe.

    Raises:
        RecipeError: there is no such recipe.
    """
    from envbuilder.transfer.lookup import find_local

    archive = None if _is_recipe(name) else find_local(name, output)
    return archive if archive is not None else find_recipe(name, Path.cwd())


def _is_recipe(name: str) -> bool:
    """Whether a recipe is called like an archive: its file decides."""
    return (Path.cwd() / "recipes" / f"{name}.yaml").is_file()


def alias(
    name: str, archive: str | None = None, *, back: bool = False, session: Session | None = None
) -> Alias:
    """Return the alias *name* (``resnet:stable``); point it to *archive* first, or with *back* to the one before.

    Raises:
        RecipeError: no store is named, or the alias points to nothing before.
        StoreError, IntegrityError: see :func:`envbuilder.transfer.aliases.move_alias`.
    """
    from envbuilder.transfer.aliases import move_alias, move_back, read_alias
    from envbuilder.transfer.lookup import locate

    session = (session or Session.open()).at(Path.cwd())
    store, remote = session.store, session.remote_store()
    found = read_alias(name, remote, store)
    if back:
        return move_back(found, store, remote)
    return found if archive is None else move_alias(found, locate(archive, remote, store)[0], store, remote)
