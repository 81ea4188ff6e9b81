"""Copy a model that needs no environment into another repository: an ensemble is of no use without its parts.

Files of the target are replaced or removed only if an earlier copy or a deployment put them there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.deployment.config import CONFIG
from envbuilder.deployment.environments import is_environment_name
from envbuilder.deployment.locking import locked_all
from envbuilder.deployment.mark import MARK, MOST, Mark, parse_mark
from envbuilder.deployment.model_directory import absolute, model_files, os_errors_as_deploy_errors, real
from envbuilder.deployment.object_store import placed_archives
from envbuilder.deployment.options import ENVIRONMENTS
from envbuilder.deployment.placement import kept_entries
from envbuilder.deployment.record import SUFFIX
from envbuilder.deployment.runtime_files import PYCACHE
from envbuilder.deployment.takeover import check_files, check_is_folder, look_at
from envbuilder.deployment.tree import (
    Copy,
    Entry,
    Keep,
    Text,
    Tree,
    has_same_bytes,
    is_in_place,
    paths,
    replace_folder,
)
from envbuilder.deployment.versions import version_of
from envbuilder.errors import IntegrityError
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.objects import RemoteObjects
from envbuilder.util.files import file_sha256
from envbuilder.util.printable import shown
from envbuilder.util.tempdirs import temporary_folder
from envbuilder.util.text import counted

_HINT: Final = (
    "move what you need out of that folder, or use --replace, which deletes files that the model lacks and overwrites "
    "the others"
)
_NAMED: Final = 5
"""How many files a table row names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What a copy changed, or would change."""

    changed: bool = False
    removed: tuple[str, ...] = ()
    """Files of the target folder that the model does not have."""
    overwritten: tuple[str, ...] = ()
    """Files that changed although neither a copy nor a deployment had put them there."""

    def text(self) -> str:
        """Return the text of a table row."""
        said = ["copied as it is"]
        for what, files in (("removed", self.removed), ("replaced", self.overwritten)):
            if files:
                more = f" and {counted(len(files) - _NAMED, 'other file')}" if len(files) > _NAMED else ""
                said.append(f"{what} there: {', '.join(map(shown, files[:_NAMED]))}{more}")
        return "; ".join(said)


def copy_model(
    model: Path,
    repository: Path,
    *,
    replace: bool = False,
    dry_run: bool = False,
    reporter: Reporter = SILENT,
) -> Copied:
    """Copy a model that needs no environment into *repository*, unchanged.

    Raises:
        DeployError: the model cannot be read, or it would replace or delete what is not this tool's.
    """
    model, repository = absolute(model), absolute(repository)
    target = repository / model.name
    write = fcntl.LOCK_SH if dry_run else fcntl.LOCK_EX
    if real(model) == real(target) or not any(model_files(model)):
        return Copied()
    with (
        locked_all({model.parent: fcntl.LOCK_SH, repository: write}, reporter),
        os_errors_as_deploy_errors(model),
    ):
        entries: dict[str, Entry] = {path: Copy(path=model / path) for path in model_files(model)}
        entries |= {one.name: Tree(path=one) for one in _empty_versions(model)}
        check_is_folder(target)
        present = look_at(target, [repository.parent / ENVIRONMENTS], repository.parent / "backends")
        plan = {**entries, **kept_entries(target, entries, (), present.named)}
        held = {MARK: Keep()} if os.path.lexists(target / MARK) else {}
        if is_in_place(target, {**plan, **held}):
            return Copied()
        removed = sorted(
            path
            for path in paths(target, plan)
            if path not in plan and path != MARK and PYCACHE not in path.split("/")
        )
        changed = sorted(
            path
            for path, entry in entries.items()
            if isinstance(entry, Copy)
            and os.path.lexists(target / path)
            and not ((target / path).is_file() and has_same_bytes(target / path, entry))
            and not present.made(path)
        )
        if not present.deployed and not replace:
            check_files(
                str(target), [path for path in removed if not present.made(path)], changed, hint=_HINT
            )
        if not dry_run:
            mark = Mark(files={path: file_sha256(model / path) for path in model_files(model)})
            replace_folder(target, {**plan, MARK: Text(data=mark.text())}, reporter)
    return Copied(changed=True, removed=tuple(removed), overwritten=tuple(changed))


def _empty_versions(model: Path) -> list[Path]:
    """Return the empty version folders: an ensemble needs one, or no server loads it."""
    return [
        one
        for one in model.iterdir()
        if version_of(one.name) is not None and one.is_dir() and not any(one.iterdir())
    ]


def copy_to_objects(
    model: Path, repository: str, *, timeout: float = 60.0, replace: bool = False, dry_run: bool = False
) -> Copied:
    """Copy a model that needs no environment into the repository at an address, unchanged.

    Raises:
        DeployError: as :func:`copy_model`.
        IntegrityError: an object differs from what was uploaded.
        StoreError, RecipeError: as :func:`envbuilder.deployment.object_store.deploy_to_objects`.
    """
    files = {path: file_sha256(model / path) for path in model_files(model)}
    if not files:
        return Copied()
    there = RemoteObjects(repository, timeout=timeout)
    held = there.walk(model.name)
    found = parse_mark(there.read_small(f"{model.name}/{MARK}", MOST) or b"") if MARK in held else None
    former = (found.files if found is not None else None) or {}
    removed = sorted(path for path in held.keys() - files.keys() if not _stays(path, held))
    differing = _differing(there, model, files, held)
    changed = _foreign(there, model.name, [path for path in differing if path in held], former)
    if not replace and not placed_archives(there, model.name, held):
        gone = _foreign(there, model.name, removed, former)
        check_files(there.place(model.name), gone, changed, hint=_HINT)
    if not dry_run and (removed or differing):
        mark = Mark(files=files)
        _put_mark(there, model.name, mark.with_former(former))  # an interrupted copy knows its own files
        for path in differing:
            there.replace(f"{model.name}/{path}", model / path)
            if _digest(there, f"{model.name}/{path}") != files[path]:
                place = there.place(f"{model.name}/{path}")
                raise IntegrityError(f"{place} differs from what was uploaded", hint="apply again")
        for path in removed:
            there.remove(f"{model.name}/{path}")
        _put_mark(there, model.name, mark)
    return Copied(changed=bool(removed or differing), removed=tuple(removed), overwritten=tuple(changed))


def _stays(path: str, held: Mapping[str, int]) -> bool:
    """Whether an object is kept although no copy put it there: the mark, and environments with their records."""
    name = path.removesuffix(SUFFIX)
    return path == MARK or is_environment_name(path) or (name in held and is_environment_name(name))


def _differing(
    there: RemoteObjects, model: Path, files: Mapping[str, str], held: Mapping[str, int]
) -> list[str]:
    """List the files that are missing or different at the target; the configuration last, as it names the others."""
    return [
        path
        for path in sorted(files, key=lambda path: (path == CONFIG, path))
        if held.get(path) != (model / path).stat().st_size
        or _digest(there, f"{model.name}/{path}") != files[path]
    ]


def _foreign(there: RemoteObjects, model: str, names: Iterable[str], former: Mapping[str, str]) -> list[str]:
    """List the objects that no earlier copy put there, or that were changed since."""

    def expected(path: str) -> Collection[str]:
        return former.get(path, "").split()

    return sorted(path for path in names if _digest(there, f"{model}/{path}") not in expected(path))


def _put_mark(there: RemoteObjects, model: str, mark: Mark) -> None:
    with temporary_folder("mark") as scratch:
        (scratch / MARK).write_bytes(mark.text())
        there.replace(f"{model}/{MARK}", scratch / MARK)


def _digest(there: RemoteObjects, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in there.read(path):
        digest.update(chunk)
    return digest.hexdigest()
