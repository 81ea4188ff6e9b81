"""Temporary folders, removed on exit; what a killed process left is known by the lock that nobody holds any more."""

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

from envbuilder.util.guard import remove
from envbuilder.util.leftovers import forget_folder, forget_path, note_folder, note_path

DRAFT: Final = ".envbuilder-"
"""How the name of a draft begins, in a folder that is not this tool's own."""
_RANDOM_BYTES: Final = 8
_TEMPORARY: Final = re.compile(rf".+-[0-9a-f]{{{2 * _RANDOM_BYTES}}}", re.DOTALL)
"""How the name of a temporary folder ends. What is called otherwise is nobody's but its owner's, and never swept."""


_lasting = contextlib.ExitStack()
"""Holds the locks of :func:`lasting_folder`; the folders themselves are removed with all that is noted."""


@contextlib.contextmanager
def locked_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new folder in *parent* that is gone afterwards; it is locked, so that :func:`sweep` leaves it alone.

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
    """Make *folder* and lock it until *stack* ends; say whether it is there: another process may have swept it."""
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
    """Give a hidden folder in *parent* to make something called *name* in; it is gone afterwards.

    What killed processes left there is removed.

    Raises:
        OSError: *parent* cannot be written.
    """
    sweep(parent, DRAFT)
    with locked_folder(parent, f"{DRAFT}{name}") as folder:
        yield folder


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Give a folder for *name* where this system keeps temporary files; it is gone afterwards.

    Raises:
        OSError: there is no place that can be written.
    """
    with draft_folder(Path(tempfile.gettempdir()), name) as folder:
        yield folder


def lasting_folder(name: str) -> Path:
    """Return a temporary folder for *name* that is gone when this process ends.

    Raises:
        OSError: there is no place that can be written.
    """
    parent = Path(tempfile.gettempdir())
    sweep(parent, DRAFT)
    while True:
        folder = parent / temporary_name(f"{DRAFT}{name}")
        if _make_locked(folder, _lasting):
            return folder


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Make *folder*, and its parents; what of them is new and empty goes again when the block fails.

    What killed processes left in *folder* is removed.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        note_folder(one)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder, DRAFT)
        yield folder
    except Exception:
        for one in missing:
            with contextlib.suppress(OSError):  # it holds something
                one.rmdir()
            forget_folder(one)
        raise
    for one in missing:  # where the process is to end, they stay noted: what is in them goes first
        forget_folder(one)


def temporary_name(prefix: str) -> str:
    """Return a new name that :func:`sweep` knows."""
    return f"{prefix}-{secrets.token_hex(_RANDOM_BYTES)}"


def sweep(parent: Path, begins: str = "") -> None:
    """Remove what killed processes left in *parent*: what nobody has locked, by a temporary name that *begins* so."""
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
                    remove(parent / name)
                finally:
                    os.close(descriptor)
