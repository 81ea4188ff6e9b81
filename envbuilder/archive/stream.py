"""The tar of an archive as a stream: decompressed in bounded memory, the archive hashed along the way."""

from __future__ import annotations

import bisect
import hashlib
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from zlib_ng import zlib_ng

from envbuilder.archive.limits import RATIO, RATIO_FROM, UNPACKED
from envbuilder.archive.reader import StreamError
from envbuilder.progress import Reporter
from envbuilder.util.files import open_regular
from envbuilder.util.printable import printable_line
from envbuilder.util.text import human

Compression = Literal["gzip", "none"]

_BLOCK: Final = 2**18
_LARGEST: Final = 2**20
"""Bytes of a decompressed block."""
_AHEAD: Final = 64
"""Blocks that decompression may be ahead of reading: bounds the memory."""
_ZEROS: Final = bytes(_BLOCK)
_OTHER_FILTERS: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
}


def compression_of(head: bytes) -> Compression:
    """Return how an archive that begins with *head* is compressed."""
    return "gzip" if head[:2] == b"\x1f\x8b" else "none"


def other_filter(head: bytes) -> str | None:
    """Say why an archive that begins with *head* is none that Triton reads; None where it may be one."""
    for magic, name in _OTHER_FILTERS.items():
        if head.startswith(magic):
            return f"it is compressed by {name}; Triton's libarchive reads gzip and plain tar"
    return "it is empty" if not head else None


def most_unpacked(size: int, compressed: bool) -> int:
    """Return how many bytes an archive of *size* bytes may unpack to."""
    return min(UNPACKED, max(RATIO_FROM, RATIO * size)) if compressed else size


class TarStream:
    """The bytes of the tar, decompressed and the archive hashed by a thread that reads ahead.

    Raises:
        OSError: when entered, where *archive* is no file that can be read.
    """

    def __init__(
        self,
        archive: Path,
        compression: Compression,
        reporter: Reporter,
        *,
        positions: Positions | None = None,
    ) -> None:
        self._archive = archive
        self._compressed = compression == "gzip"
        self._reporter = reporter
        self._positions = positions
        self._blocks: queue.Queue[tuple[bytes, int] | Exception | None] = queue.Queue(_AHEAD)
        self._hash = hashlib.sha256()
        self._left = memoryview(b"")
        self._ended = False
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self.most = 0
        """Bytes that there can be, known when it is entered."""

    def __enter__(self) -> TarStream:
        self._file = open_regular(self._archive)
        self.most = most_unpacked(os.fstat(self._file.fileno()).st_size, self._compressed)
        try:
            self._thread.start()
        except RuntimeError as error:  # how Python says that the kernel has no memory for its stack
            self._file.close()
            raise MemoryError from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._drain()
        self._thread.join()

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, fewer only at the end."""
        if size <= len(self._left):
            part, self._left = self._left[:size], self._left[size:]
            return bytes(part)
        parts, missing = [], size
        while missing and self._more():
            parts.append(self._left[:missing])
            self._left = self._left[missing:]
            missing -= len(parts[-1])
        if self._error is not None and not parts:  # what came before the damage is worth having
            raise self._error
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Pass over up to *size* bytes; return how many there were."""
        missing = size
        while missing and self._more():
            step = min(missing, len(self._left))
            self._left = self._left[step:]
            missing -= step
        if self._error is not None and missing == size:
            raise self._error
        return size - missing

    def finish(self) -> str:
        """Read what is left of the archive; return its sha256."""
        self._drain()
        self._thread.join()
        return self._hash.hexdigest()

    def _more(self) -> bool:
        """Take the next block where none is left; return whether there is one."""
        while not self._left and not self._ended and self._error is None:
            block = self._blocks.get()
            if block is None:
                self._ended = True
            elif isinstance(block, Exception):
                self._error = block
            else:
                self._left = memoryview(block[0])
                if self._positions is not None:
                    self._positions.note(len(block[0]), block[1])
        return bool(self._left)

    def _drain(self) -> None:
        while not self._ended:
            self._ended = self._blocks.get() is None

    def _produce(self) -> None:
        unpacking: _Unpacking | None = _Unpacking(self._compressed)
        try:
            with (
                self._file as file,
                self._reporter.task(f"Reading {self._archive.name}", os.fstat(file.fileno()).st_size) as task,
            ):
                while data := file.read(_BLOCK):
                    self._hash.update(data)
                    task.advance(len(data))
                    if unpacking is not None:
                        unpacking = self._unpack(unpacking, data)
                if unpacking is not None and unpacking.within_member:
                    self._put(EOFError("it is truncated: its gzip stream has no end"))
        except OSError as error:
            self._put(EOFError(f"it cannot be read any further: {error.strerror}"))
        except MemoryError as error:
            self._put(error)
        finally:
            self._put(None)

    def _unpack(self, unpacking: _Unpacking, data: bytes) -> _Unpacking | None:
        """Hand on what *data* unpacks to; None where it is damaged, and only its hash is asked any more."""
        try:
            for block in unpacking.feed(data):
                if self._stopped.is_set():
                    return None
                self._put(block)
        except StreamError as error:
            self._put(error)
            return None
        return unpacking

    def _put(self, block: tuple[bytes, int] | Exception | None) -> None:
        self._blocks.put(block)


class Positions:
    """Which byte of an archive each byte of its tar comes from, noted at the end of each block."""

    def __init__(self) -> None:
        self._tar = [0]
        self._archive = [0]

    @property
    def unpacked(self) -> int:
        """Bytes of the tar so far."""
        return self._tar[-1]

    def note(self, unpacked: int, packed: int) -> None:
        """Note that *unpacked* more bytes are there, and *packed* of the archive have been read for them."""
        if unpacked:
            self._tar.append(self._tar[-1] + unpacked)
            self._archive.append(packed)
        else:
            self._archive[-1] = packed  # heads and ends of gzip members belong to what is before them

    def packed(self, start: int, end: int) -> int:
        """Return how many bytes of the archive a range of the tar took."""
        return self._packed_before(end) - self._packed_before(start)

    def _packed_before(self, offset: int) -> int:
        after = bisect.bisect_left(self._tar, offset)
        if not after:
            return 0
        share = (offset - self._tar[after - 1]) / (self._tar[after] - self._tar[after - 1])
        return self._archive[after - 1] + round(share * (self._archive[after] - self._archive[after - 1]))


class _Unpacking:
    """Decompresses any number of gzip members, a bounded block at a time: a small file may hold a huge one."""

    def __init__(self, compressed: bool) -> None:
        self._member = zlib_ng.decompressobj(wbits=31)
        self._compressed = compressed
        self._over = False
        self._packed = self._unpacked = 0
        self.within_member = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield what the next bytes of the archive hold, and how many were read of it until there.

        Raises:
            StreamError: the stream is damaged, or unpacks to more than any environment.
        """
        for block, left in self._inflate(data) if self._compressed else ((data, b""),):
            self._unpacked += len(block)
            packed = self._packed + len(data) - len(left)
            if self._compressed and self._unpacked > most_unpacked(packed, True):
                said = human(UNPACKED) if self._unpacked > UNPACKED else f"{RATIO} times its size"
                raise StreamError(f"it unpacks to more than {said}, as no environment does")
            yield block, packed
        self._packed += len(data)

    def _inflate(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield a block, and what is left of *data* after it."""
        full = False
        while (data or full) and not self._over:
            try:
                block = self._member.decompress(data, _LARGEST)
            except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
                # libarchive, as gzip does, takes zeros after the last member for padding.
                if self.within_member or data.strip(b"\0"):
                    raise StreamError(f"its gzip stream is damaged: {error}") from error
                self._over = True
                return
            full = len(block) == _LARGEST
            self.within_member = not self._member.eof
            data = self._member.unconsumed_tail
            if self._member.eof:
                data, full = self._member.unused_data, False
                self._member = zlib_ng.decompressobj(wbits=31)
            yield block, data


def after_the_end(stream: TarStream, last: str) -> str | None:
    """Read on after the last member: a tar ends with zeros, and one that was cut between members has none."""
    length = 0
    while block := stream.read(_BLOCK):
        length += len(block)
        if block != _ZEROS[: len(block)]:
            return f"there is no readable header after {printable_line(last)}"
    return None if length else f"it is truncated: it ends after {printable_line(last)}, with no end of a tar"
