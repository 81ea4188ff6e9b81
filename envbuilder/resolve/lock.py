"""Lock a recipe: check its lock, or write a new one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.base.choose import lock_base
from envbuilder.config.channels import channels_of
from envbuilder.errors import IntegrityError, RecipeError, ResolveError, StaleLockError
from envbuilder.fetch.artifacts import fetch_into_wheelhouse
from envbuilder.fetch.beside import with_files_beside
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.compare import compare_locks
from envbuilder.lockfile.model import WHEELHOUSE, Lock
from envbuilder.lockfile.pylock import NewerLockError, lock_path, read_lock, write_lock
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.progress import Reporter
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.built_wheels import place_in_wheelhouse
from envbuilder.resolve.wheels import resolve as resolve_wheels
from envbuilder.store.session import Session
from envbuilder.util.documents import DOCUMENT, DocumentError, parse_toml
from envbuilder.util.files import kind_of_file, read_regular
from envbuilder.util.tempdirs import DRAFT, remove_stale


@dataclass(frozen=True, kw_only=True, slots=True)
class LockResult:
    """The result of locking a recipe."""

    lock: Lock
    path: Path
    changed: bool
    """Whether the file was written because it was missing or different."""
    demands: tuple[str, ...]
    """The release's requirements, in addition to the recipe's dependencies."""
    differences: tuple[str, ...] = ()
    """Changes from the previous lock, one per line: ``numpy 1.26.3 -> 1.26.4``."""
    wheelhouse: Path | None = None
    """The folder with the artifacts, if fetched."""


def lock_recipe(
    recipe: Recipe,
    session: Session,
    *,
    check: bool = False,
    resolve: bool = False,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    fetch: bool = False,
) -> LockResult:
    """Write the lock of *recipe*, or with *check* only check that it is up to date.

    *check* needs neither solver nor network; with *resolve* it resolves again and compares. *fetch* fills the
    wheelhouse beside the lock.

    Raises:
        StaleLockError: with *check*: the lock is missing or out of date.
        IntegrityError: with *check*: the lock was edited or is broken; or it is of a newer format.
        ResolveError, FetchError: see :func:`envbuilder.resolve.wheels.resolve`.
    """
    path = lock_path(recipe)
    if check:
        lock = check_lock(recipe)
        if resolve:
            again = _resolve(recipe, session, lock, Upgrade())
            differences = compare_locks(lock, again)
            if differences:
                raise StaleLockError(
                    f"{path}: solving again gives a different lock: {'; '.join(differences)}",
                    hint=recipe.lock_command,
                )
        result = LockResult(lock=lock, path=path, changed=False, demands=lock.demands)
    else:
        remove_stale(path.parent, DRAFT)
        previous = _previous(path, session.reporter)
        _check_names(upgrade_packages, previous, path)
        named = upgrade_packages if previous is not None else ()
        lock = _resolve(recipe, session, previous, Upgrade(everything=upgrade, packages=tuple(named)))
        if previous is not None and replace(lock, tools=previous.tools) == previous:
            lock = previous  # another version of uv, the same result: the file is not touched
        try:
            if lock != previous:
                write_lock(lock, path)
            _keep_beside(recipe, lock, session)
        except OSError as error:
            raise ResolveError(f"{path}: cannot be written: {error.strerror or error}") from error
        result = LockResult(
            lock=lock,
            path=path,
            changed=lock != previous,
            demands=lock.demands,
            differences=() if previous is None else compare_locks(previous, lock),
        )
    if not fetch:
        return result
    folder = path.parent / WHEELHOUSE
    fetch_into_wheelhouse(
        lock.all_artifacts,
        lock.cuda,
        with_files_beside(recipe, session),
        folder,
        channels=channels_of(recipe),
    )
    return replace(result, wheelhouse=folder)


def _previous(path: Path, reporter: Reporter) -> Lock | None:
    """Return the lock whose versions are kept, if there is a valid one."""
    if path.exists() and not path.is_file():
        raise RecipeError(f"{path}: is {kind_of_file(path.stat().st_mode)}, not a file")
    try:
        return read_lock(path)
    except NewerLockError:
        raise
    except StaleLockError:
        return None
    except IntegrityError as error:  # a merge conflict, or an edit, which this command fixes
        _check_author(path)
        reporter.note(f"{error.message}; writing a new lock without its versions")
        return None


def _check_author(path: Path) -> None:
    """Refuse to overwrite a lock that another tool wrote, as all of them use ``pylock.NAME.toml`` (PEP 751)."""
    try:
        author = parse_toml(read_regular(path, most=DOCUMENT.size), where=str(path)).text("created-by")
    except (DocumentError, OSError):
        return
    if author != "envbuilder":
        raise RecipeError(
            f"{path} is a lock of {author}, not of envbuilder",
            hint="move it, or rename the recipe, whose lock is pylock.NAME.toml; `envbuilder import` makes a recipe "
            "of such a lock",
        )


def _check_names(upgrade_packages: Sequence[str], previous: Lock | None, path: Path) -> None:
    """Refuse to upgrade packages that are not in the lock: a typo would go unnoticed."""
    known = ["python", *(one.name for one in previous.all_artifacts)] if previous is not None else []
    for name in upgrade_packages:
        if known and canonicalize_name(name) not in known and name not in known:
            near = difflib.get_close_matches(canonicalize_name(name), known, n=1, cutoff=0.5)
            raise RecipeError(
                f"--upgrade-package {name} is not in {path.name}",
                hint=f"did you mean {near[0]}?" if near else None,
            )


def _keep_beside(recipe: Recipe, lock: Lock, session: Session) -> None:
    """Put artifacts that no index has into the wheelhouse beside the lock."""
    requirements = [Requirement(text) for text in recipe.dependencies]
    named = {
        canonicalize_name(requirement.name) for requirement in requirements if requirement.url is not None
    }
    kept = [artifact for artifact in lock.artifacts if artifact.name in {*named, *dict(lock.built)}]
    if kept:
        folder = lock_path(recipe).parent / WHEELHOUSE
        place_in_wheelhouse(kept, session.store, folder)
        files = ", ".join(artifact.filename for artifact in kept)
        session.reporter.note(f"no index has {files}: kept in {folder}, copy it to other machines")


def _resolve(recipe: Recipe, session: Session, previous: Lock | None, upgrade: Upgrade) -> Lock:
    base = lock_base(recipe, session, previous=previous, upgrade=upgrade)
    wheels = replace(upgrade, packages=tuple(name for name in upgrade.packages if name != "python"))
    return resolve_wheels(recipe, session, base, previous=previous, upgrade=wheels)
