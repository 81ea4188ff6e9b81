"""The members of a tar, read once and under limits: :mod:`tarfile`, protected against hostile input.

``tarfile`` reads PAX records and GNU long names of any size, follows chains of them by recursion, keeps sparse-block
lists of any length, seeks backwards if a size is negative, and does not validate numbers. Here each header is read
under a budget, the source only moves forward, and a member is validated before it is returned.
"""

from __future__ import annotations

import math
import os
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from envbuilder.archive import limits
from envbuilder.util.printable import printable_line, shown
from envbuilder.util.text import human

CHUNK: Final = 2**18
"""Bytes of a piece of a file."""


class Stream(Protocol):
    """A source of the bytes of a tar."""

    @property
    def most(self) -> int:
        """Largest possible number of bytes."""

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, fewer only at the end."""

    def skip(self, size: int) -> int:
        """Skip up to *size* bytes; return how many there were."""


class StreamError(ValueError):
    """The bytes of a tar cannot be read, or there are too many: the text says why."""


class DamagedTarError(ValueError):
    """A tar cannot be read further: the reason, and the last readable member if the reason does not name it."""

    def __init__(self, reason: str, last: str | None = None) -> None:
        super().__init__(reason if last is None else f"{reason} (at {printable_line(last)})")


class BoundedTar:
    """A tar whose members are validated before they are returned; it is read once, from the first byte.

    Iterating and reading members raise :class:`DamagedTarError`, and the :exc:`OSError` of the stream.
    """

    def __init__(self, stream: Stream) -> None:
        self._most = stream.most
        self._source = _Source(stream)
        self._count = self._names = self._size = 0
        self.last = "its first header"
        """The name of the last member read."""
        with self._damage(), self._source.header():  # the constructor reads the first header
            self._tar = tarfile.TarFile(fileobj=self._source, mode="r")  # type: ignore[arg-type]  # needs only read, seek and tell

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Yield the members, each once."""
        while True:
            with self._damage():
                with self._source.header():
                    member = self._tar.next()
                if member is None:
                    return self._check_end()
                self._check(member)
            self._tar.members = []  # type: ignore[attr-defined]  # otherwise all headers are kept in memory
            self.last = member.name
            yield member

    def chunks(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Yield the content of a file in pieces; fewer bytes than its size only if the tar is truncated."""
        with self._damage():
            self._source.seek(member.offset_data)
            left = member.size
            while left and (data := self._source.read(min(left, CHUNK))):
                left -= len(data)
                yield data

    def content(self, member: tarfile.TarInfo, most: int) -> bytes:
        """Return the content of a file, or at most *most* bytes from its beginning."""
        found = bytearray()
        for data in self.chunks(member):
            found += data
            if len(found) >= most:
                return bytes(found[:most])
        if len(found) < member.size:
            raise DamagedTarError(f"it is truncated: {len(found)} bytes of {member.size}", self.last)
        return bytes(found)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Convert everything that tarfile raises on malformed input to one kind of error."""
        try:
            yield
        except DamagedTarError:
            raise
        except (tarfile.TarError, EOFError, StreamError) as error:
            raise DamagedTarError(str(error), self.last) from error
        except (ValueError, ArithmeticError, LookupError, TypeError) as error:  # not caught by tarfile
            raise DamagedTarError("the next header is invalid", self.last) from error

    def _check_end(self) -> None:
        """Reject a false end: tarfile stops at a damaged header as it does at zeros."""
        if any(self._source.block):
            raise DamagedTarError(f"there is no readable header after {printable_line(self.last)}")

    def _check(self, member: tarfile.TarInfo) -> None:
        name, link = os.fsencode(member.name), os.fsencode(member.linkname)
        self._count += 1
        self._names += len(name) + len(link)
        self._size += member.size
        if self._count > limits.MEMBERS:
            raise self._refused(f"it has more than {limits.MEMBERS:,} members")
        if self._names > limits.NAMES:
            raise self._refused(f"its names take more than {human(limits.NAMES)}")
        if len(self._tar.pax_headers) > limits.GLOBAL_RECORDS:
            raise self._refused(f"it has more than {limits.GLOBAL_RECORDS} records for all members")
        said = shown(member.name, 200)
        if not member.isdir() and posixpath.normpath(member.name or ".") == ".":
            raise self._refused("a member that is not a folder has no name")
        for what, text in (("name", name), ("link target", link)):
            if b"\0" in text:
                raise self._refused(f"{said}: its {what} has a NUL in it")
            if len(text) > limits.PATH or max(map(len, text.split(b"/"))) > limits.PART:
                raise self._refused(f"{said}: its {what} is longer than PATH_MAX")
        if member.issparse() or any(key.startswith("GNU.sparse.") for key in member.pax_headers):
            raise self._refused(
                f"{said} is a sparse file, which is not supported: pack it without --sparse (-S)"
            )
        if member.size < 0:
            raise self._refused(f"{said}: its size is negative")
        if self._size > self._most:
            has = f"{said} says that it has {human(member.size)}, more than the archive can contain"
            raise self._refused(f"it is truncated, or deceives: {has}")
        if not math.isfinite(member.mtime) or abs(member.mtime) > limits.LATEST:
            raise self._refused(f"{said}: its time, {member.mtime:g} s since 1970, is out of range")
        member.mode &= 0o7777

    def _refused(self, reason: str) -> DamagedTarError:
        return DamagedTarError(reason, self.last)


class _Source:
    """A stream as a file object for tarfile: it only moves forward, and headers are read under a budget."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._position = 0
        self._bytes: int | None = None
        """The remaining budget; None while content is read."""
        self._reads = 0
        self.block = b""
        """The last header block read."""

    @contextmanager
    def header(self) -> Iterator[None]:
        """Apply the budget to all reads in this block, which describe one member."""
        self._bytes, self._reads = limits.HEADER, limits.HEADER_READS
        try:
            yield
        finally:
            self._bytes = None

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence or position < self._position:
            raise StreamError("a member begins before the previous one ends")
        while self._position < position:
            passed = self._stream.skip(position - self._position)
            if not passed:
                break
            self._position += passed
        return self._position

    def read(self, size: int = -1) -> bytes:
        if self._bytes is not None:
            self._reads -= 1
            self._bytes -= size
            if size < 0 or self._bytes < 0:
                raise StreamError(f"a header takes more than {human(limits.HEADER)}")
            if self._reads < 0:
                raise StreamError(f"a header has more than {limits.HEADER_READS} blocks")
        elif size < 0:
            raise StreamError("reading without a size is not supported")
        data = self._stream.read(size)
        self._position += len(data)
        if self._bytes is not None:
            self.block = data
        return data

    def close(self) -> None:
        """Do not close the stream; the owner does."""
