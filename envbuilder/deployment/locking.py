"""Lock folders for one deployment at a time, and create staging folders."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from envbuilder.errors import DeployError
from envbuilder.progress import Reporter
from envbuilder.util.leftovers import forget_folder, forget_path, note_folder, note_path

_ASIDE: Final = ".set-aside"
STAGED: Final = ".envbuilder-staging"
"""The file that marks a staging folder as this tool's: another folder may have the same name."""
MOUNTS: Final = Path("/proc/self/mountinfo")


@contextlib.contextmanager
def locked(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Lock *folder* for this process: one deployment at a time. Leaves neither a file nor a new empty folder behind.

    Raises:
        DeployError: the folder cannot be made or read.
    """
    with locked_all({folder: fcntl.LOCK_EX}, reporter):
        yield


def tidy(folder: Path, reporter: Reporter) -> None:
    """Restore or remove what a killed deployment left for *folder*, if anything.

    Raises:
        DeployError: the folder cannot be read.
    """
    if any(map(_is_staging, _staging_places(folder))):
        with locked(folder, reporter):
            pass


@contextlib.contextmanager
def locked_all(folders: Mapping[Path, int], reporter: Reporter) -> Iterator[None]:
    """Lock several folders: ``LOCK_EX`` to write (created if missing), ``LOCK_SH`` to read.

    They are locked in the order of their canonical paths, so two deployments cannot deadlock.

    Raises:
        DeployError: a folder to write into cannot be made or read.
    """
    wanted: dict[str, tuple[Path, int]] = {}
    for folder, kind in folders.items():
        real = os.path.realpath(folder)
        known = wanted.get(real, (folder, kind))[1]
        wanted[real] = (folder, fcntl.LOCK_EX if fcntl.LOCK_EX in (kind, known) else kind)
    held: set[tuple[int, int]] = set()
    with ExitStack() as stack:
        for _, (folder, kind) in sorted(wanted.items()):
            if kind == fcntl.LOCK_EX:
                made = _make(folder)
                _hold(stack, folder, kind, held, reporter)
                stack.callback(_remove_empty, made)
                for left in _staging_places(folder):  # left by a killed deployment
                    if _is_staging(left):
                        _restore(left, folder)
                        _remove_staging(left)
            else:
                _hold(stack, folder, kind, held, reporter)
        yield


def _hold(stack: ExitStack, folder: Path, kind: int, held: set[tuple[int, int]], reporter: Reporter) -> None:
    """Lock *folder* as it is when the lock is acquired; a caller that created it for nothing removes it."""
    while True:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if kind == fcntl.LOCK_SH:
                return  # it is only read, and may belong to another user
            raise DeployError(f"{folder} cannot be used as a folder: {error.strerror}") from error
        found = os.fstat(handle)
        if (found.st_dev, found.st_ino) in held:  # the same folder by another path
            os.close(handle)
            return
        _flock(handle, kind, folder, reporter)
        if _is_still(folder, found):
            held.add((found.st_dev, found.st_ino))
            stack.callback(os.close, handle)
            return
        os.close(handle)
        if kind == fcntl.LOCK_EX:
            _make(folder)


def _flock(handle: int, kind: int, folder: Path, reporter: Reporter) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        reporter.note(f"waiting for another deployment to {folder}")
        fcntl.flock(handle, kind)
    except OSError:
        if kind == fcntl.LOCK_EX:
            reporter.note(
                f"{folder} cannot be locked on this file system: run only one deployment at a time there"
            )


def _is_still(folder: Path, found: os.stat_result) -> bool:
    try:
        now = os.stat(folder)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)


def _make(folder: Path) -> list[Path]:
    """Create *folder* and its parents; return those that were created, the innermost first."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(made):
        note_folder(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(made)
        raise DeployError(f"{folder} cannot be used as a folder: {error.strerror}") from error
    return made


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it holds something
            folder.rmdir()
        forget_folder(folder)


def set_aside(draft: Path) -> Path:
    """Return the path, beside *draft* in its staging folder, to which the old folder is moved for a moment."""
    return draft.with_name(f"{draft.name}{_ASIDE}")


def _restore(left: Path, folder: Path) -> None:
    """Move back what a killed deployment had moved aside, if it got no further."""
    for aside in left.glob(f"*{_ASIDE}"):
        target = folder / aside.name.removesuffix(_ASIDE)
        if not os.path.lexists(target):
            aside.rename(target)


@contextlib.contextmanager
def staging(folder: Path, reporter: Reporter) -> Iterator[Path]:
    """Yield a staging folder on the file system of *folder*, empty but for its mark; removed on exit.

    Raises:
        DeployError: no folder can be created beside *folder* or in it.
    """
    beside, inside = _staging_places(folder)
    place = beside
    try:
        if is_mounted(folder) or not _made(beside):
            # A volume mounted at the repository itself. A server that polls may log once that it finds no model in it.
            why = (
                f"{beside} is there, and no deployment made it"
                if os.path.lexists(beside)
                else f"{folder.parent} is not on the same file system"
            )
            reporter.note(f"assembling in {inside}: {why}")
            place = inside
            if os.path.lexists(inside):
                raise DeployError(
                    f"{inside} is in the way, and no deployment made it",
                    hint="move it away, then deploy again",
                )
            note_path(inside)
            inside.mkdir()
        (place / STAGED).touch()
    except OSError as error:
        forget_path(place)
        raise DeployError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        yield place
    except OSError as error:
        raise DeployError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        _remove_staging(place)
        forget_path(place)


def _is_staging(folder: Path) -> bool:
    """Whether *folder* is the staging folder of a killed deployment.

    An empty one was killed before it wrote its mark.
    """
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return not names or STAGED in names


def _remove_staging(folder: Path) -> None:
    """Remove a staging folder, its mark last, so that the rest is still recognized if this process is killed."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name == STAGED:
                continue
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()
    remove_tree(folder)


def _staging_places(folder: Path) -> tuple[Path, Path]:
    """Where a new folder for *folder* is assembled: beside it, or else in it."""
    real = Path(os.path.realpath(folder))
    return real.parent / f".{real.name}.deploying", real / ".deploying"


def is_mounted(folder: Path) -> bool:
    """Whether *folder* is a mount point: a bind mount has the same device, but a rename into it still fails."""
    if os.path.ismount(folder):
        return True
    try:
        mounts = [line.split()[4] for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return False
    return str(folder.resolve()) in [
        re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), at) for at in mounts
    ]


def _made(folder: Path) -> bool:
    """Create the staging folder *folder*; return whether that was possible."""
    if os.path.lexists(folder):
        return False  # not noted yet: whatever is noted is removed when this process ends
    note_path(folder)
    try:
        folder.mkdir()
    except OSError:  # the repository's parent belongs to another user
        forget_path(folder)
        return False
    return True


def remove_tree(folder: Path) -> None:
    """Remove *folder* with its contents, including read-only folders of archives; ignore what cannot be removed."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir() or folder.is_symlink():
        return
    with contextlib.suppress(OSError):  # another user's
        folder.chmod(0o700)
        for root, folders, _ in os.walk(folder):
            for name in folders:
                if not os.path.islink(os.path.join(root, name)):
                    os.chmod(os.path.join(root, name), 0o700)
    shutil.rmtree(folder, ignore_errors=True)
