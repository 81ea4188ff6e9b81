"""Conda packages as archives, ``.conda`` and ``.tar.bz2``: read once under limits, before they are extracted.

py-rattler unpacks what a package says it is, whatever it comes to: a few kilobytes may fill a disk, and what does not
fit into memory ends the process. Nothing is handed to it that was not read here to its end.
"""

from __future__ import annotations

import bz2
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from envbuilder.archive.limits import RATIO, RATIO_FROM, TEXTS
from envbuilder.archive.member import STORED, Member
from envbuilder.archive.reader import BoundedTar, StreamError
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError, ResolveError
from envbuilder.util.documents import LISTING
from envbuilder.util.extras import installing
from envbuilder.util.files import open_regular
from envbuilder.util.text import human

_WANTED: Final = frozenset(
    f"info/{name}" for name in ("index.json", "link.json", "paths.json", "files", "has_prefix")
)
_METADATA: Final = re.compile(
    r"(?:lib/python3\.\d+/)?site-packages/[^/]+(\.dist-info/METADATA|\.egg-info(/PKG-INFO)?)"
)
_WINDOW: Final = 2**27
"""Largest zstd window, in bytes of memory: that of its highest level (22)."""
_CHUNK: Final = 2**18


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaArchive:
    """The metadata of a conda package."""

    info: dict[str, bytes] = field(default_factory=dict)
    """``info/index.json`` and other metadata files, by path."""
    metadata: dict[str, bytes] = field(default_factory=dict)
    """Of Python projects in it, by path."""
    members: list[str] = field(default_factory=list)
    """Paths of its files and links, those in ``info/`` not counted."""
    links: dict[str, str] = field(default_factory=dict)
    """Target of each symbolic link, by path."""


def read_conda_archive(path: Path) -> CondaArchive:
    """Read the whole package at *path*, whose name tells its kind.

    Raises:
        ValueError: it is not a package, is damaged, or unpacks to more than the limit.
        OSError: it cannot be read.
        ResolveError: the extra ``conda`` is not installed.
    """
    found = CondaArchive()
    with open_regular(path) as file:
        if path.name.endswith(".tar.bz2"):
            size = file.seek(0, 2)
            file.seek(0)
            _read_tar(_Unpacked(bz2.BZ2File(file), size), found, everything=True)
            return found
        try:
            directory = ZipDirectory(file, path.name)
            for part in ("info", "pkg"):
                member = _part(directory, part)
                file.seek(directory.stream_offset(member))
                with _zstd(file, member.size) as stream:
                    _read_tar(stream, found, everything=part == "pkg")
        except AssembleError as error:
            raise ValueError(error.message) from error
    return found


def _part(directory: ZipDirectory, part: str) -> Member:
    """Return the member of a ``.conda`` that holds its ``info``, or its ``pkg``."""
    names = [name for name in directory.members if re.fullmatch(rf"{part}-[^/]+\.tar\.zst", name)]
    if len(names) != 1:
        raise ValueError(f"one {part}-….tar.zst expected in it, found {len(names)}")
    member = directory.members[names[0]]
    if member.method != STORED:
        raise ValueError(f"{member.name} in it is compressed twice")
    return member


def _read_tar(stream: _Unpacked, found: CondaArchive, *, everything: bool) -> None:
    left = TEXTS
    tar = BoundedTar(stream)
    for member in tar:
        name = member.name.removeprefix("./")
        kept = found.info if name in _WANTED else found.metadata if _METADATA.fullmatch(name) else None
        if kept is not None and member.isreg():
            kept[name] = tar.content(member, LISTING.size + 1)
            left -= len(kept[name])
            if left < 0:
                raise ValueError(f"its metadata is larger than {human(TEXTS)}")
        if not everything or member.isdir() or name.startswith("info/"):
            continue
        if not (member.isreg() or member.issym() or member.islnk()):
            raise ValueError(f"{name!r} in it is neither a file nor a link")
        found.members.append(name)
        if member.issym():
            found.links[name] = member.linkname
        elif member.islnk():
            found.members.append(member.linkname.removeprefix("./"))
    while stream.skip(_CHUNK):
        pass


class _Readable(Protocol):
    def read(self, size: int) -> bytes: ...


class _Unpacked:
    """A decompressed stream of *size* packed bytes, under limits.

    Raises, here and in its methods:
        StreamError: it is damaged, or exceeds the limits.
    """

    def __init__(self, source: _Readable, size: int, failure: type[Exception] = EOFError) -> None:
        self._source = source
        self._failures = (EOFError, OSError, failure)
        self._left = self.most = max(RATIO_FROM, RATIO * size)

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, fewer only at the end."""
        parts = []
        while size:
            try:
                part = self._source.read(min(size, _CHUNK))
            except self._failures as error:
                raise StreamError(f"it is damaged: {error}") from error
            if not part:
                break
            parts.append(part)
            size -= len(part)
            self._left -= len(part)
            if self._left < 0:
                raise StreamError(f"it unpacks to more than {RATIO} times its size, the limit for packages")
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Pass over up to *size* bytes; return how many there were."""
        return len(self.read(min(size, _CHUNK)))


@contextmanager
def _zstd(file: BinaryIO, size: int) -> Iterator[_Unpacked]:
    """Yield the decompressed content of the next *size* bytes of *file*."""
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise ResolveError(
            f"`provider: conda` requires zstandard, which is not installed ({error})",
            hint=installing("conda"),
        ) from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with decompressor.stream_reader(_Part(file, size), read_across_frames=True, closefd=False) as source:
        yield _Unpacked(source, size, zstandard.ZstdError)


class _Part:
    """The next bytes of a file, up to an end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data
