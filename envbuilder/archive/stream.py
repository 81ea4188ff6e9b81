"""The tar of an archive as a stream: decompressed in bounded memory while the archive is hashed."""

from __future__ import annotations

import bisect
import hashlib
import io
import os
import queue
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

from zlib_ng import zlib_ng

from envbuilder.archive.limits import RATIO, RATIO_FROM, UNPACKED
from envbuilder.archive.reader import StreamError
from envbuilder.archive.unpack import Other, unpacked
from envbuilder.progress import Reporter
from envbuilder.util.files import open_regular
from envbuilder.util.printable import printable_line
from envbuilder.util.text import human

Compression = Literal["gzip", "none"] | Other
"""The container of a tar; a zip or a folder is converted to a tar."""

_BLOCK: Final = 2**18
_LARGEST: Final = 2**20
"""Bytes of a decompressed block."""
_AHEAD: Final = 64
"""Blocks that decompression may be ahead of the reader: bounds the memory."""
_ZEROS: Final = bytes(_BLOCK)
_OTHER_FILTERS: Final[dict[bytes, Other]] = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
}
_LZ4: Final = b"\x04\x22\x4d\x18"
_GIT_LFS: Final = b"version https://git-lfs.github.com/spec/"
_PAGE: Final = re.compile(rb"\s*<(!doctype\s+html|html)\b", re.IGNORECASE)


def compression_of(head: bytes) -> Compression:
    """Return the compression of an archive that begins with *head*."""
    other = next((name for magic, name in _OTHER_FILTERS.items() if head.startswith(magic)), None)
    return other or ("gzip" if head[:2] == b"\x1f\x8b" else "none")


def unsupported_format(head: bytes) -> str | None:
    """Return why Triton cannot read an archive that begins with *head*; None if it may."""
    name = "lz4" if head.startswith(_LZ4) else compression_of(head)
    if name not in ("gzip", "none"):
        return f"it is compressed by {name}; Triton's libarchive reads gzip and plain tar"
    if head.startswith(_GIT_LFS):
        return "it is a Git LFS pointer in place of the archive, which `git lfs pull` fetches"
    if _PAGE.match(head):
        return "it is an HTML page, not an archive: look at what the download was answered with"
    return "it is empty" if not head else None


def unreadable(head: bytes) -> str | None:
    """Return why an archive that begins with *head* is not supported here; None if it may be."""
    other = not head or head.startswith((_LZ4, _GIT_LFS)) or _PAGE.match(head)
    return unsupported_format(head) if other else None


def most_unpacked(size: int, compressed: bool) -> int:
    """Return the largest allowed unpacked size of an archive of *size* bytes."""
    return min(UNPACKED, max(RATIO_FROM, RATIO * size)) if compressed else size


class TarStream:
    """The bytes of the tar; a thread reads ahead, decompresses, and hashes the archive.

    Raises:
        OSError: on entry, if *archive* cannot be read.
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
        self._kind = compression
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
        """Largest possible number of bytes, known after entry."""

    def __enter__(self) -> TarStream:
        if self._kind == "folder":
            self._file: BinaryIO = io.BytesIO()
            self.most = UNPACKED
        else:
            self._file = open_regular(self._archive)
            self.most = most_unpacked(os.fstat(self._file.fileno()).st_size, self._kind != "none")
        try:
            self._thread.start()
        except RuntimeError as error:  # the kernel has no memory for the thread's stack
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
        if self._error is not None and not parts:  # return what was read before the damage
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
        """Read the rest of the archive; return its sha256."""
        self._drain()
        self._thread.join()
        return self._hash.hexdigest()

    def _more(self) -> bool:
        """Fetch the next block if the current one is used up; return whether there is one."""
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
        try:
            with self._file as file:
                if self._kind == "gzip" or self._kind == "none":
                    self._produce_tar(file)
                else:
                    self._produce_other(self._kind, file)
        except OSError as error:
            self._put(EOFError(f"it cannot be read further: {error.strerror}"))
        except MemoryError as error:
            self._put(error)
        finally:
            self._put(None)

    def _produce_tar(self, file: BinaryIO) -> None:
        unpacking: _Unpacking | None = _Unpacking(self._compressed)
        size = os.fstat(file.fileno()).st_size
        with self._reporter.task(f"Reading {self._archive.name}", size) as task:
            while data := file.read(_BLOCK):
                self._hash.update(data)
                task.advance(len(data))
                if unpacking is not None:
                    unpacking = self._unpack(unpacking, data)
            if unpacking is not None and unpacking.within_member:
                self._put(EOFError("it is truncated: its gzip stream is incomplete"))

    def _produce_other(self, kind: Other, file: BinaryIO) -> None:
        """Pass on another container converted to a tar; for a folder, that tar is hashed."""
        folder = kind == "folder"
        if not folder:
            while data := file.read(_BLOCK):
                self._hash.update(data)
            file.seek(0)
        written = 0
        with self._reporter.task(f"Reading {self._archive.name}", None) as task:
            try:
                for block in unpacked(kind, self._archive, file):
                    if self._stopped.is_set():
                        return
                    written += len(block)
                    if written > self.most:
                        raise StreamError(f"it unpacks to more than {human(self.most)}, the limit")
                    if folder:
                        self._hash.update(block)
                    task.advance(len(block))
                    self._put((block, written if folder else file.tell()))
            except StreamError as error:
                self._put(error)

    def _unpack(self, unpacking: _Unpacking, data: bytes) -> _Unpacking | None:
        """Pass on the decompressed *data*; None after damage, when only the hash is still needed."""
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
    """Maps offsets in the tar to offsets in the archive, noted at the end of each block."""

    def __init__(self) -> None:
        self._tar = [0]
        self._archive = [0]

    @property
    def unpacked(self) -> int:
        """Bytes of the tar so far."""
        return self._tar[-1]

    def note(self, unpacked: int, packed: int) -> None:
        """Note that *unpacked* more bytes were produced after reading *packed* bytes of the archive in total."""
        if unpacked:
            self._tar.append(self._tar[-1] + unpacked)
            self._archive.append(packed)
        else:
            self._archive[-1] = packed  # gzip headers and trailers count to the preceding data

    def packed(self, start: int, end: int) -> int:
        """Return the compressed size of a range of the tar."""
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
        """Yield the decompressed blocks of *data*, each with the number of archive bytes read so far.

        Raises:
            StreamError: the stream is damaged, or exceeds the limits.
        """
        for block, left in self._inflate(data) if self._compressed else ((data, b""),):
            self._unpacked += len(block)
            packed = self._packed + len(data) - len(left)
            if self._compressed and self._unpacked > most_unpacked(packed, True):
                said = human(UNPACKED) if self._unpacked > UNPACKED else f"{RATIO} times its size"
                raise StreamError(f"it unpacks to more than {said}, the limit")
            yield block, packed
        self._packed += len(data)

    def _inflate(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield a block, and the rest of *data* after it."""
        full = False
        while (data or full) and not self._over:
            try:
                block = self._member.decompress(data, _LARGEST)
            except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
                # Like gzip, libarchive accepts zeros after the last member as padding.
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


def trailing_data(stream: TarStream, last: str) -> str | None:
    """Read past the last member: a tar ends with zeros, and one that was truncated between members has none."""
    length = 0
    while block := stream.read(_BLOCK):
        length += len(block)
        if block != _ZEROS[: len(block)]:
            return f"there is no readable header after {printable_line(last)}"
    return (
        None if length else f"it is truncated: it ends after {printable_line(last)}, without a tar end marker"
    )
