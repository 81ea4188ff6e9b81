"""Write files atomically, read and hash regular files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO, Final

from envbuilder.util.tempdirs import draft_folder
from envbuilder.util.text import human

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a disk, or a quota, that is full."""
StrPath = str | os.PathLike[str]
"""A path, or an object that represents one, such as :class:`envbuilder.Archive`."""


def optional_path(path: StrPath | None) -> Path | None:
    """Return *path* as a Path, or None."""
    return None if path is None else Path(path)


def atomic_write(path: Path, data: bytes) -> None:
    """Write *data* to a temporary file beside *path* and rename it: a killed run leaves the old file.

    A file that is there keeps its mode. A link is replaced, and what it leads to stays as it is.

    Raises:
        NotRegularError: it exists and is not a file: a device, say, which must not be replaced.
        OSError: it cannot be written.
    """
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise NotRegularError(errno.EINVAL, f"is {kind_of_file(mode)}, not a file", str(path))
    with draft_folder(path.parent, path.name) as folder:
        draft = folder / "draft"
        draft.write_bytes(data)
        if mode is not None:
            draft.chmod(stat.S_IMODE(mode))
        draft.replace(path)


def atomic_create(path: Path, draft: Path) -> None:
    """Link the file *draft* to *path*, which must not exist.

    Raises:
        FileExistsError: *path* exists. It is left unchanged.
        OSError: it cannot be written.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("xb") as file:
            file.write(draft.read_bytes())


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


class NotRegularError(OSError):
    """The path is not a regular file: a folder, a FIFO, a socket, a device."""


_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without blocking (links are followed).

    Raises:
        NotRegularError: it is not a regular file; the error says what it is.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what open(2) says of a socket
            raise NotRegularError(errno.ENXIO, "is a socket, not a file", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NotRegularError(errno.EINVAL, f"is {kind_of_file(mode)}, not a file", str(path))
    return open(descriptor, "rb")


def read_regular(path: Path, *, most: int) -> bytes:
    """Return at most *most* bytes from the beginning of a file, opened as :func:`open_regular` does."""
    with open_regular(path) as file:
        return file.read(most)


def has_bytes(path: Path, data: bytes) -> bool:
    """Whether the file *path* holds *data*; one of another size is not read, however large it claims to be.

    Raises:
        NotRegularError: it exists and is not a file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size == len(data) and file.read(len(data) + 1) == data


def read_ends(path: Path, most: int) -> str:
    """Return the text of a log, of a longer one the first and the last *most* bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= 2 * most:
            return file.read(2 * most).decode(errors="replace")
        begin = file.read(most)
        file.seek(size - most)
        return f"{begin.decode(errors='replace')}\n{file.read(most).decode(errors='replace')}"


def read_text(path: Path, *, most: int = 16 * 2**20) -> str:
    """Return the UTF-8 text of a configuration file of at most *most* bytes.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        OSError: it cannot be read, is no file, or is larger.
    """
    data = read_regular(path, most=most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"is larger than {human(most)}", str(path))
    return data.decode("utf-8")


def kind_of_file(mode: int) -> str:
    """Return the name of the file type in a mode of :func:`os.stat`."""
    return next((name for test, name in _KINDS if test(mode)), "a file")


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of *folder*, which need not exist yet."""
    existing = next(up for up in (folder, *folder.absolute().parents) if up.is_dir())
    return shutil.disk_usage(existing).free
