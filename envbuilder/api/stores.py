"""Upload to and download from a remote store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.archive.called import ARCHIVE, ENVS
from envbuilder.errors import RecipeError
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
    to: str | None = None,
    interpreter_change: bool = False,
    reports: Sequence[StrPath] = (),
    session: Session | None = None,
) -> Transfer:
    """Upload an archive to the remote store, or a recipe's archive (built if needed) with all its artifacts.

    See :func:`envbuilder.transfer.push_pull.push_archive` and :func:`~envbuilder.transfer.push_pull.push_recipe`. With
    *to*, ``oci://HOST/REPOSITORY:TAG``, the image is pushed to that registry, see
    :func:`envbuilder.transfer.images.push_image`; *what* may then be an image layout, ``PATH`` or ``PATH:NAME``.

    Raises:
        RecipeError: no store is configured.
        StaleLockError: the lock is stale.
    """
    from envbuilder.transfer.push_pull import push_archive, push_recipe

    files = [Path(report) for report in reports]
    if to is not None:
        return _push_image(what, to, Path(output), interpreter_change, files, session or Session.open())
    if not isinstance(what, Recipe):
        return push_archive(Path(what), (session or Session.open()).at(Path.cwd()), reports=files)
    return push_recipe(
        what,
        (session or Session.open()).at(what.path.parent),
        output=Path(output),
        interpreter_change=interpreter_change,
        reports=files,
    )


def _push_image(
    what: Recipe | StrPath,
    to: str,
    output: Path,
    interpreter_change: bool,
    reports: Sequence[Path],
    session: Session,
) -> Transfer:
    from envbuilder.api.archives import build
    from envbuilder.images.named import split_name
    from envbuilder.registry.reference import parse_reference
    from envbuilder.transfer.images import push_image

    reference = parse_reference(to)
    if isinstance(what, Recipe):
        session = session.at(what.path.parent)
        what = build(what, output=output, interpreter_change=interpreter_change, session=session).archive
    path, name = split_name(os.fspath(what)) or (Path(what), None)
    return push_image(path, reference, session.at(Path.cwd(), remote=False), reports=reports, name=name)


def pull(name: str, *, output: StrPath = ENVS, session: Session | None = None) -> Transfer:
    """Download an archive from the remote store: by its name, its digest, an alias, or its recipe.

    ``oci://HOST/REPOSITORY:TAG``, or ``…@sha256:…``, is an image in a registry, see
    :func:`envbuilder.transfer.images.pull_image`.

    Raises:
        RecipeError: no store is configured, or the recipe does not exist.
        StaleLockError: the lock is stale.
        StoreError, IntegrityError: see :func:`envbuilder.transfer.push_pull.pull_build`.
    """
    from envbuilder.lockfile.check import check_lock
    from envbuilder.recipe.load import find_recipe
    from envbuilder.registry.reference import is_reference, parse_reference
    from envbuilder.transfer.images import pull_image
    from envbuilder.transfer.lookup import names_an_archive
    from envbuilder.transfer.push_pull import pull_archive, pull_build

    if is_reference(name):
        session = (session or Session.open()).at(Path.cwd(), remote=False)
        return pull_image(parse_reference(name), Path(output), session)
    if names_an_archive(name) and not _is_recipe(name):
        return pull_archive(name, (session or Session.open()).at(Path.cwd()), Path(output))
    recipe = find_recipe(name, Path.cwd())
    return pull_build(
        recipe, check_lock(recipe), (session or Session.open()).at(recipe.path.parent), Path(output)
    )


def find_pushed(name: str, output: Path) -> Recipe | Path:
    """Resolve the NAME of ``push NAME``: an archive by its path, or by its name or digest in *output*, else a recipe.

    An image layout is its path, or ``PATH:NAME`` where it has several images.

    Raises:
        RecipeError: the recipe does not exist.
    """
    from envbuilder.images.named import split_name

    path = Path(name)
    if split_name(name) is not None or (
        ARCHIVE.fullmatch(path.name) and path.is_file() and not _is_recipe(name)
    ):
        return path
    from envbuilder.transfer.lookup import find_local

    archive = None if _is_recipe(name) else find_local(name, output)
    if archive is not None:
        return archive
    from envbuilder.recipe.load import find_recipe

    return find_recipe(name, Path.cwd())


def _is_recipe(name: str) -> bool:
    """Whether a recipe has the name of an archive; then the file decides."""
    return (Path.cwd() / "recipes" / f"{name}.yaml").is_file()


def alias(
    name: str, archive: str | None = None, *, back: bool = False, session: Session | None = None
) -> Alias:
    """Return the alias *name* (``resnet:stable``), moved to *archive*, or with *back* to the previous one.

    ``oci://HOST/REPOSITORY:TAG`` is a tag in a registry, which keeps no history; *archive* is then another tag or a
    digest (``sha256:…``, also without that, as this prints it) of the same repository, or the reference of either.

    Raises:
        RecipeError: no store is configured, or the alias has no previous archive.
        StoreError, IntegrityError: see :func:`envbuilder.transfer.aliases.move_alias`.
    """
    from envbuilder.registry.reference import is_reference
    from envbuilder.transfer.aliases import move_alias, move_back, read_alias
    from envbuilder.transfer.lookup import locate

    if is_reference(name):
        return _tag(name, archive, back, (session or Session.open()).at(Path.cwd(), remote=False))
    session = (session or Session.open()).at(Path.cwd())
    store, remote = session.store, session.remote_store()
    found = read_alias(name, remote, store)
    if back:
        return move_back(found, store, remote)
    return found if archive is None else move_alias(found, locate(archive, remote, store)[0], store, remote)


def _tag(name: str, wanted: str | None, back: bool, session: Session) -> Alias:
    from envbuilder.registry.reference import parse_reference
    from envbuilder.transfer.aliases import Alias, Move
    from envbuilder.transfer.tags import move_tag, resolve_tag

    if back:
        raise RecipeError(
            f"{name} is a tag, and a registry keeps no history of tags",
            hint="give the digest: envbuilder alias oci://HOST/REPOSITORY:TAG sha256:…",
        )
    reference = parse_reference(name)
    digest = resolve_tag(reference, session) if wanted is None else move_tag(reference, wanted, session)
    return Alias(name=name, moves=(Move(number=1, sha256=digest.removeprefix("sha256:"), time=""),))
