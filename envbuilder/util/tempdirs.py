"""Temporary folders, removed on exit. Those of killed processes are recognised by their released locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuilder.util.leftovers import forget_folder, forget_path, note_folder, note_path
from envbuilder.util.watchdog import remove

DRAFT: Final = ".envbuilder-"
"""Prefix of temporary names in folders that are not this tool's own."""
_RANDOM_BYTES: Final = 8
_TEMPORARY: Final = re.compile(rf".+-[0-9a-f]{{{2 * _RANDOM_BYTES}}}", re.DOTALL)
"""The names of temporary folders. Nothing with another name is ever removed."""


_lasting = contextlib.ExitStack()
"""Holds the locks of :func:`lasting_folder`; :mod:`envbuilder.util.leftovers` removes the folders."""


@contextlib.contextmanager
def locked_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in *parent*, removed on exit. It is locked, so that :func:`remove_stale` leaves it alone.

    Raises:
        OSError: *parent* cannot be written.
    """
    with contextlib.ExitStack() as stack:
        while True:
            folder = parent / temporary_name(prefix)
            stack.callback(_take_away, folder)
            if _make_locked(folder, stack):
                break
        yield folder


def _make_locked(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Create *folder* and lock it until *stack* ends; return whether it exists: another process may have removed it."""
    note_path(folder)
    folder.mkdir(0o700)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # before it was locked
        return False
    stack.callback(os.close, descriptor)
    with contextlib.suppress(OSError):  # a file system without locks: nothing is swept there, either
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder.exists()


def _take_away(folder: Path) -> None:
    remove(folder)
    forget_path(folder)


@contextlib.contextmanager
def draft_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield a hidden folder in *parent* to create *name* in, removed on exit.

    Folders left there by killed processes are removed.

    Raises:
        OSError: *parent* cannot be written.
    """
    remove_stale(parent, DRAFT)
    with locked_folder(parent, f"{DRAFT}{name}") as folder:
        yield folder


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Yield a folder for *name* in the system's temporary directory, removed on exit.

    Raises:
        OSError: the temporary directory cannot be written.
    """
    with draft_folder(Path(tempfile.gettempdir()), name) as folder:
        yield folder


def lasting_folder(name: str) -> Path:
    """Return a temporary folder for *name*, removed when this process ends.

    Raises:
        OSError: the temporary directory cannot be written.
    """
    parent = Path(tempfile.gettempdir())
    remove_stale(parent, DRAFT)
    while True:
        folder = parent / temporary_name(f"{DRAFT}{name}")
        if _make_locked(folder, _lasting):
            return folder


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Create *folder* and its parents; if the block fails, remove those that are new and empty.

    Folders left in *folder* by killed processes are removed.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        note_folder(one)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder, DRAFT)
        yield folder
    except Exception:
        for one in missing:
            with contextlib.suppress(OSError):  # it holds something
                one.rmdir()
            forget_folder(one)
        raise
    for one in missing:  # if the process is ending, they stay noted: their contents are removed first
        forget_folder(one)


def temporary_name(prefix: str) -> str:
    """Return a new name that :func:`remove_stale` recognises."""
    return f"{prefix}-{secrets.token_hex(_RANDOM_BYTES)}"


def remove_stale(parent: Path, begins: str = "") -> None:
    """Remove this user's unlocked temporary folders in *parent* whose names begin with *begins*.

    Killed processes left them. Other users' folders are kept, even if root runs this.
    """
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in names:
        if name.startswith(begins) and _TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):
                descriptor = os.open(parent / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_uid == os.geteuid():
                        remove(parent / name)
                finally:
                    os.close(descriptor)
