"""Inspect untrusted zips: their names, and one small member.

For strict reading of wheels there is :mod:`envbuilder.archive.zipdir`, which rejects PyTorch's own zips.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from envbuilder.util.files import open_regular
from envbuilder.util.text import human

_MOST_DIRECTORY: Final = 32 * 2**20
"""Largest directory of such a zip, in bytes: that of 730,000 members, each of which takes half a kilobyte of
memory."""


class BadZipError(ValueError):
    """It is not a zip, or it is damaged: the text says what is wrong."""


def zip_names(path: Path) -> list[str]:
    """Return the names of the members of the zip *path*.

    Raises:
        BadZipError: it is not a valid zip.
        OSError: it cannot be read.
    """
    with opened_zip(path) as file:
        return file.namelist()


def read_member(path: Path, wanted: Callable[[str], bool], *, most: int) -> bytes | None:
    """Return the first member of the zip *path* whose name is *wanted*, or None.

    Raises:
        BadZipError: it is not a valid zip, or the member has more than *most* bytes.
        OSError: it cannot be read.
    """
    with opened_zip(path) as file:
        info = next((info for info in file.infolist() if wanted(info.filename)), None)
        if info is None:
            return None
        with file.open(info) as member:
            data = member.read(most + 1)
        if len(data) > most:
            raise BadZipError(f"{info.filename!r} in it is larger than {human(most)}")
        return data


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the zip *path*.

    Raises:
        BadZipError: it is not a valid zip, also if the block finds that.
        OSError: it cannot be read.
    """
    with open_regular(path) as opened:
        try:
            check_directory(opened)
            with zipfile.ZipFile(opened) as file:
                yield file
        except BadZipError:
            raise
        # An encrypted member is a RuntimeError, another compression NotImplementedError, a broken one the others.
        except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error, struct.error) as error:
            raise BadZipError(str(error)) from error


def check_directory(file: BinaryIO) -> None:
    """Check that the directory of a zip, which is read into memory, is not too large for that.

    Raises:
        BadZipError: it is.
    """
    # The library's own look at the end says how much it would read.
    end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001
    if end and end[5] > _MOST_DIRECTORY:
        raise BadZipError(f"its directory has {human(end[5])}, more than {human(_MOST_DIRECTORY)}")
