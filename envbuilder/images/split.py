"""Determine the parts of an archive that was built on another machine from its bytes.

A wheel's segment ends with its RECORD, the last of its entries; the first one begins with the first file in its
RECORD. Segments are whole gzip members, so a part is a range of the archive.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from packaging.utils import canonicalize_name
from zlib_ng import zlib_ng

from envbuilder.archive.manifest import Manifest
from envbuilder.archive.plan import BASE, OWN, Part, folders_of
from envbuilder.archive.reader import BoundedTar, DamagedTarError, StreamError
from envbuilder.archive.stream import most_unpacked
from envbuilder.archive.tar import BLOCK
from envbuilder.errors import IntegrityError
from envbuilder.util.files import open_regular

_CHUNK: Final = 2**20
_MOST_RECORD: Final = 64 * 2**20
_RECORD: Final = re.compile(r".+/(?P<name>[^/]+)-[^/-]+\.dist-info/RECORD")
_PYCACHE: Final = re.compile(r"(?P<folder>.*/)?__pycache__/(?P<stem>[^/]+)\.cpython-\d+(\.opt-\d)?\.pyc")


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    offset: int
    """Offset of its header in the tar."""


def split_archive(archive: Path, manifest: Manifest) -> tuple[Part, ...]:
    """Return the parts of *archive*, which *manifest* describes.

    Raises:
        IntegrityError: it cannot be read, or is not packed as this tool packs.
    """
    try:
        with open_regular(archive) as file:
            stream = Members(file, plain=bool(manifest.pack.get("uncompressed")))
            return _parts(archive, manifest, stream, BoundedTar(stream))
    except (DamagedTarError, StreamError, EOFError) as error:
        raise IntegrityError(f"{archive} cannot be read: {error}", hint="build it again") from error


def _parts(archive: Path, manifest: Manifest, stream: Members, tar: BoundedTar) -> tuple[Part, ...]:
    entries: list[_Entry] = []
    ends: list[int] = []
    """For each wheel, the number of the entry after its last one."""
    first_record = b""
    wheels = manifest.packages
    end = 0
    for member in tar:
        entries.append(_Entry(member.name + ("/" if member.isdir() else ""), member.offset))
        end = member.offset_data + (-(-member.size // BLOCK) * BLOCK if member.isreg() else 0)
        found = _RECORD.fullmatch(member.name)
        if found and len(ends) < len(wheels) and _is_of(found["name"], wheels[len(ends)].filename):
            if not ends:
                first_record = tar.content(member, _MOST_RECORD)
            ends.append(len(entries))
    if len(ends) < len(wheels):
        raise _unknown(archive, f"the RECORD of {wheels[len(ends)].filename} is not where it should be")
    begin = _first_of(entries, ends[0], first_record) if ends else len(entries)
    cuts = [0, begin, *ends] if ends else [0, _own_begins(entries)]
    labels = [BASE, *(wheel.filename for wheel in wheels), OWN]
    parts = []
    stream.drain()
    for label, low, high in zip(labels, cuts, [*cuts[1:], len(entries)], strict=True):
        start = stream.place(entries[low].offset if low < len(entries) else end)
        stop = stream.place(entries[high].offset if high < len(entries) else end)
        if start is None or stop is None:
            raise _unknown(archive, f"{label} is not compressed by itself")
        folders = folders_of(one.path for one in entries[low:high] if not one.path.endswith("/"))
        parts.append(Part(label=label, key="", offset=start, size=stop - start, folders=folders))
    return tuple(parts)


def _is_of(name: str, filename: str) -> bool:
    return canonicalize_name(name) == canonicalize_name(filename.split("-", 1)[0])


def _first_of(entries: Sequence[_Entry], end: int, record: bytes) -> int:
    """Return the number of the first entry of the wheel whose last entry, its RECORD, is the one before *end*."""
    site_packages = posixpath.dirname(posixpath.dirname(entries[end - 1].path))
    rows = csv.reader(io.StringIO(os.fsdecode(record)))
    own = {posixpath.normpath(posixpath.join(site_packages, row[0])) for row in rows if row}
    first = end - 1
    while first and _source(entries[first - 1].path) in own:
        first -= 1
    return first


def _source(path: str) -> str:
    """Return the source of a bytecode file, which a RECORD does not name; other paths unchanged."""
    found = _PYCACHE.fullmatch(path)
    return path if found is None else f"{found['folder'] or ''}{found['stem']}.py"


def _own_begins(entries: Sequence[_Entry]) -> int:
    """Return where the environment's own files begin if there are no wheels: at its activation."""
    return next((n for n, entry in enumerate(entries) if entry.path == "bin/activate"), len(entries))


def _unknown(archive: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{archive} is not packed as this envbuilder packs: {why}",
        hint="build it again from its lock with this envbuilder",
    )


class Members:
    """The tar in an archive as a stream that records where each gzip member begins."""

    def __init__(self, file: BinaryIO, *, plain: bool) -> None:
        self._file = file
        self._plain = plain
        size = os.fstat(file.fileno()).st_size
        self.most = most_unpacked(size, not plain)
        self._places: dict[int, int] = {0: 0}
        self._member = zlib_ng.decompressobj(wbits=31)
        self._data = b""
        self._read = 0
        """How many bytes of the archive were read."""
        self._unpacked = 0
        self._left = memoryview(b"")
        self._begun = False

    @property
    def places(self) -> dict[int, int]:
        """Offsets of gzip members in the archive by offsets in the tar; complete after :meth:`drain`."""
        return self._places

    def place(self, offset: int) -> int | None:
        """Return the archive offset of the gzip member that begins at *offset* of the tar; None: it is within one."""
        return offset if self._plain else self._places.get(offset)

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, fewer only at the end."""
        parts = []
        while size and self._more():
            parts.append(bytes(self._left[:size]))
            self._left = self._left[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Skip up to *size* bytes; return how many there were."""
        done = 0
        while done < size and self._more():
            step = min(size - done, len(self._left))
            self._left = self._left[step:]
            done += step
        return done

    def drain(self) -> None:
        """Read to the end, so that every offset is known."""
        while self._more():
            self._left = memoryview(b"")

    def _more(self) -> bool:
        while not self._left:
            block = self._next()
            if block is None:
                return False
            self._unpacked += len(block)
            if self._unpacked > self.most:
                raise StreamError("it unpacks to more than any environment does")
            self._left = memoryview(block)
        return True

    def _next(self) -> bytes | None:
        if not self._data:
            self._data = self._file.read(_CHUNK)
            self._read += len(self._data)
            if not self._data and (self._plain or not self._begun):
                return None
        if self._plain:
            data, self._data = self._data, b""
            return data
        try:
            block = self._member.decompress(self._data, _CHUNK)
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
            raise StreamError(f"its gzip stream is damaged: {error}") from error
        if not self._data and not block and not self._member.eof:
            raise StreamError("it is truncated: its gzip stream is incomplete")
        self._begun = True
        self._data = self._member.unconsumed_tail
        if self._member.eof:
            self._data = self._member.unused_data
            self._member = zlib_ng.decompressobj(wbits=31)
            self._begun = False
            self._places[self._unpacked + len(block)] = self._read - len(self._data)
        return block
