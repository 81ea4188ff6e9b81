"""Lock a recipe: check its lock, or write it anew."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.errors import IntegrityError, RecipeError, ResolveError, StaleLockError
from envbuilder.fetch.download import fetch_into_wheelhouse
from envbuilder.files import file_sha256
from envbuilder.lockfile import (
    WHEELHOUSE,
    Artifact,
    Lock,
    LockedInterpreter,
    NewerLockError,
    lock_path,
    read_lock,
    write_lock,
)
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe import Recipe
from envbuilder.resolve.built import place_in_wheelhouse
from envbuilder.resolve.conda import channels_of, conda_interpreter, solve_conda
from envbuilder.resolve.interpreter import describe, find_interpreter
from envbuilder.resolve.provided import find_provided
from envbuilder.resolve.wheels import resolve as resolve_wheels
from envbuilder.settings import Settings
from envbuilder.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class LockResult:
    """What became of one lock."""

    lock: Lock
    path: Path
    changed: bool
    """The file was written, for it was missing or different."""
    demands: tuple[str, ...]
    """What the release asked for, unasked."""
    differences: tuple[str, ...] = ()
    """What changed against the lock before, a line each: ``numpy 1.26.3 -> 1.26.4``."""
    wheelhouse: Path | None = None
    """The folder that was filled with the artifacts."""


def lock_recipe(
    recipe: Recipe,
    *,
    settings: Settings,
    store: Store,
    check: bool = False,
    resolve: bool = False,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    fetch: bool = False,
    reporter: Reporter = SILENT,
) -> LockResult:
    """Write the lock of *recipe*, or with *check* only say whether it still belongs to it.

    *check* needs neither solver nor network; with *resolve* it solves again and compares. *fetch* fills the
    wheelhouse beside the lock.

    Raises:
        StaleLockError: with *check*: there is no lock, or it is not the recipe's (any more).
        IntegrityError: with *check*: the lock was edited or is broken; or it is of a newer format.
        ResolveError, FetchError: see :func:`envbuilder.resolve.wheels.resolve`.
    """
    path = lock_path(recipe)
    if check:
        lock = check_lock(recipe)
        if resolve:
            again = _resolve(recipe, settings, store, lock, False, (), reporter)
            differences = compare_locks(lock, again)
            if differences:
                raise StaleLockError(
                    f"{path}: solving again gives another lock: {'; '.join(differences)}",
                    hint=recipe.lock_command,
                )
        result = LockResult(lock=lock, path=path, changed=False, demands=lock.demands)
    else:
        previous = _previous(path, reporter)
        _check_names(upgrade_packages, previous, path)
        named = upgrade_packages if previous is not None else ()
        lock = _resolve(recipe, settings, store, previous, upgrade, named, reporter)
        if previous is not None and replace(lock, tools=previous.tools) == previous:
            lock = previous  # another uv, the same answer: no reason to touch the file
        try:
            if lock != previous:
                write_lock(lock, path)
            _keep_beside(recipe, lock, store, reporter)
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
    sources = with_wheelhouse(recipe, settings)
    fetch_into_wheelhouse(
        lock.all_artifacts, lock.cuda, sources, store, folder, channels=channels_of(recipe), reporter=reporter
    )
    return replace(result, wheelhouse=folder)


def _previous(path: Path, reporter: Reporter) -> Lock | None:
    """Return the lock whose versions are to be kept, if there is one that can be trusted."""
    try:
        return read_lock(path)
    except NewerLockError:
        raise
    except StaleLockError:
        return None
    except IntegrityError as error:  # a merge conflict, or an edit: this is the command that mends it
        reporter.note(f"{error.message}; written anew, its versions are not kept")
        return None


def _check_names(upgrade_packages: Sequence[str], previous: Lock | None, path: Path) -> None:
    """Refuse to upgrade what is not in the lock: a slip of the pen would go unseen."""
    known = ["python", *(one.name for one in previous.all_artifacts)] if previous is not None else []
    for name in upgrade_packages:
        if known and canonicalize_name(name) not in known and name not in known:
            near = difflib.get_close_matches(canonicalize_name(name), known, n=1, cutoff=0.5)
            raise RecipeError(
                f"--upgrade-package {name}: there is none in {path.name}",
                hint=f"did you mean {near[0]}?" if near else None,
            )


def with_wheelhouse(recipe: Recipe, settings: Settings) -> Settings:
    """Return *settings* with what lies beside the recipe: its wheelhouse, the folders of its local wheels.

    For fetching, where only hashes count. A lock is resolved without them, or a wheelhouse once filled would
    hold every version back.
    """
    folders = [
        lock_path(recipe).parent / WHEELHOUSE,
        *(wheel.parent for wheel in _local_wheels(recipe).values()),
    ]
    links = [str(folder) for folder in folders if folder.is_dir()]
    return replace(settings, find_links=tuple(dict.fromkeys([*settings.find_links, *links])))


def _local_wheels(recipe: Recipe) -> dict[str, Path]:
    """Return the wheels that the recipe names by their path, by project."""
    requirements = [Requirement(text) for text in recipe.dependencies]
    return {
        canonicalize_name(requirement.name): Path(url2pathname(urlsplit(requirement.url).path))
        for requirement in requirements
        if requirement.url is not None and requirement.url.startswith("file:")
    }


def _keep_beside(recipe: Recipe, lock: Lock, store: Store, reporter: Reporter) -> None:
    """Put what no index has into the wheelhouse beside the lock."""
    requirements = [Requirement(text) for text in recipe.dependencies]
    named = {
        canonicalize_name(requirement.name) for requirement in requirements if requirement.url is not None
    }
    kept = [artifact for artifact in lock.artifacts if artifact.name in {*named, *dict(lock.built)}]
    if kept:
        folder = lock_path(recipe).parent / WHEELHOUSE
        place_in_wheelhouse(kept, store, folder)
        files = ", ".join(artifact.filename for artifact in kept)
        reporter.note(f"no index has {files}: kept in {folder}, take it along to other machines")


def check_lock(recipe: Recipe) -> Lock:
    """Return the lock of *recipe* if it belongs to it. Needs no network.

    Raises:
        StaleLockError: there is none, or the recipe or the release's demands changed since.
        IntegrityError: the lock was edited or is broken.
    """
    path = lock_path(recipe)
    if not path.exists():
        raise StaleLockError(
            f"recipe {recipe.name} is not locked: there is no {path}", hint=recipe.lock_command
        )
    lock = read_lock(path)
    if lock.recipe != recipe.name:
        raise StaleLockError(
            f"{path}: is the lock of recipe {lock.recipe}, not of {recipe.name}",
            hint=recipe.lock_command,
        )
    if lock.recipe_digest != recipe.digest():
        raise StaleLockError(
            f"{path}: {recipe.path.name} changed since it was locked", hint=recipe.lock_command
        )
    hashes = {artifact.name: artifact.sha256 for artifact in lock.artifacts}
    for name, wheel in _local_wheels(recipe).items():
        if file_sha256(wheel) != hashes.get(name):
            raise StaleLockError(
                f"{path}: {wheel.name} changed since it was locked", hint=recipe.lock_command
            )
    return lock


def compare_locks(old: Lock, new: Lock) -> tuple[str, ...]:
    """Say in lines how *new* differs from *old*; the solvers' versions do not count."""
    lines: list[str] = []
    lines += _compared(old.conda.packages if old.conda else (), new.conda.packages if new.conda else ())
    lines += _compared(old.artifacts, new.artifacts)
    if old.interpreter != new.interpreter:
        lines.append(f"python {_interpreter(old.interpreter)} -> {_interpreter(new.interpreter)}")
    for what in ("recipe_digest", "release", "python", "torch", "cuda", "demands"):
        if not lines and getattr(old, what) != getattr(new, what):
            lines.append(f"{what.replace('_', ' ')} changed")
    return tuple(lines)


def _compared(old: Sequence[Artifact], new: Sequence[Artifact]) -> Iterator[str]:
    before = {artifact.name: artifact for artifact in old}
    after = {artifact.name: artifact for artifact in new}
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            kept = one or other
            assert kept is not None
            yield f"{name} {kept.version} {'new' if one is None else 'gone'}"
        elif one.version != other.version:
            yield f"{name} {one.version} -> {other.version}"
        elif one != other:
            yield f"{name} {one.version}: another file, {other.filename}"


def _interpreter(interpreter: LockedInterpreter) -> str:
    return f"{interpreter.version} ({interpreter.origin}, {interpreter.digest[:12]})"


def _resolve(
    recipe: Recipe,
    settings: Settings,
    store: Store,
    previous: Lock | None,
    upgrade: bool,
    upgrade_packages: Sequence[str],
    reporter: Reporter,
) -> Lock:
    keep = previous is not None and previous.python == recipe.python
    if recipe.provider == "conda":
        before = () if previous is None or previous.conda is None or upgrade else previous.conda.packages
        kept = [package for package in before if package.name not in upgrade_packages]
        solved = solve_conda(recipe, settings, store, keep=kept, reporter=reporter)
        return resolve_wheels(
            recipe,
            settings,
            conda_interpreter(solved.packages),
            previous=previous,
            upgrade=upgrade,
            upgrade_packages=[name for name in upgrade_packages if name != "python"],
            conda=solved.packages,
            provided=find_provided(
                solved.python,
                recipe.python,
                channels_of(recipe),
                with_wheelhouse(recipe, settings),
                store,
                reporter=reporter,
            ),
            store=store,
            reporter=reporter,
        )
    if previous is not None and keep and not (upgrade or "python" in upgrade_packages):
        interpreter = previous.interpreter  # not looked for: this machine need not have it to lock
    else:
        interpreter = describe(find_interpreter(recipe.python, reporter=reporter))
    return resolve_wheels(
        recipe,
        settings,
        interpreter,
        previous=previous,
        upgrade=upgrade,
        upgrade_packages=[name for name in upgrade_packages if name != "python"],
        store=store,
        reporter=reporter,
    )
