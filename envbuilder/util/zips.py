"""A look into zips that others wrote: their names, and one small member. What is packed is read by others.

For zips whose every byte counts there is :mod:`envbuilder.archive.zipdir`; PyTorch's own are not as strict as that.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from envbuilder.util.files import open_regular
from envbuilder.util.text import human

_MOST_NAMES: Final = 1_000_000
"""Members of a zip that is looked into: each takes half a kilobyte of memory."""


class BadZipError(ValueError):
    """It is no zip, or a damaged one: the text says what is wrong."""


def zip_names(path: Path) -> list[str]:
    """Return the names of what the zip *path* holds.

    Raises:
        BadZipError: it is none.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        return file.namelist()


def read_member(path: Path, wanted: Callable[[str], bool], *, most: int) -> bytes | None:
    """Return the first member of the zip *path* whose name is *wanted*; None where there is none.

    Raises:
        BadZipError: it is no zip, or the member has more than *most* bytes.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        info = next((info for info in file.infolist() if wanted(info.filename)), None)
        if info is None:
            return None
        with file.open(info) as member:
            data = member.read(most + 1)
        if len(data) > most:
            raise BadZipError(f"{info.filename!r} in it is larger than {human(most)}")
        return data


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with open_regular(path) as opened:
        try:
            with zipfile.ZipFile(opened) as file:
                if len(file.infolist()) > _MOST_NAMES:
                    raise BadZipError(f"it has more than {_MOST_NAMES:,} members")
                yield file
        except BadZipError:
            raise
        # An encrypted member is a RuntimeError, another compression NotImplementedError, a broken one the others.
        except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error, struct.error) as error:
            raise BadZipError(str(error)) from error
