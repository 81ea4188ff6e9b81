"""The tar of an archive as a stream: decompressed in bounded memory, the archive hashed along the way."""

from __future__ import annotations

import hashlib
import queue
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from zlib_ng import zlib_ng

from envbuilder.progress import Reporter

Compression = Literal["gzip", "none"]

_BLOCK: Final = 2**18
_LARGEST: Final = 2**20
"""Bytes of a decompressed block."""
_AHEAD: Final = 64
"""Blocks that decompression may be ahead of reading: bounds the memory."""
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


class TarStream:
    """The bytes of the tar, decompressed and the archive hashed by a thread that reads ahead."""

    def __init__(self, archive: Path, compression: Compression, reporter: Reporter) -> None:
        self._archive = archive
        self._compressed = compression == "gzip"
        self._reporter = reporter
        self._blocks: queue.Queue[bytes | Exception | None] = queue.Queue(_AHEAD)
        self._hash = hashlib.sha256()
        self._left = b""
        self._ended = False
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)

    def __enter__(self) -> TarStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._drain()
        self._thread.join()

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, fewer only at the end."""
        parts, missing = [], size
        while missing and self._error is None:
            if not self._left:
                block = None if self._ended else self._blocks.get()
                if block is None:
                    self._ended = True
                    break
                if isinstance(block, Exception):
                    self._error = block
                    break
                self._left = block
            parts.append(self._left[:missing])
            self._left = self._left[missing:]
            missing -= len(parts[-1])
        if self._error is not None and not parts:  # what came before the damage is worth having
            raise self._error
        return b"".join(parts)

    def finish(self) -> str:
        """Read what is left of the archive; return its sha256."""
        self._drain()
        self._thread.join()
        return self._hash.hexdigest()

    def _drain(self) -> None:
        while not self._ended:
            self._ended = self._blocks.get() is None

    def _produce(self) -> None:
        gunzip = _Gunzip() if self._compressed else None
        damaged = False
        try:
            with (
                self._archive.open("rb") as file,
                self._reporter.task(f"Reading {self._archive.name}", self._archive.stat().st_size) as task,
            ):
                while data := file.read(_BLOCK):
                    self._hash.update(data)
                    task.advance(len(data))
                    try:
                        for block in () if damaged else gunzip.feed(data) if gunzip else (data,):
                            self._put(block)
                    except ValueError as error:
                        self._put(error)
                        damaged = True  # its hash is asked all the same
                if gunzip is not None and not damaged and gunzip.within_member:
                    self._put(EOFError("it is truncated: its gzip stream has no end"))
        except OSError as error:
            self._put(error)
        finally:
            self._put(None)

    def _put(self, block: bytes | Exception | None) -> None:
        if block is None or isinstance(block, Exception) or (block and not self._stopped.is_set()):
            self._blocks.put(block)


class _Gunzip:
    """Decompresses any number of gzip members, a bounded block at a time: a small file may hold a huge one."""

    def __init__(self) -> None:
        self._member = zlib_ng.decompressobj(wbits=31)
        self._over = False
        self.within_member = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the archive hold.

        Raises:
            ValueError: the stream is damaged.
        """
        full = False
        while (data or full) and not self._over:
            try:
                block = self._member.decompress(data, _LARGEST)
            except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
                # libarchive, as gzip does, takes zeros after the last member for padding.
                if self.within_member or data.strip(b"\0"):
                    raise ValueError(f"its gzip stream is damaged: {error}") from error
                self._over = True
                return
            if block:
                yield block
            full = len(block) == _LARGEST
            self.within_member = not self._member.eof
            data = self._member.unconsumed_tail
            if self._member.eof:
                data, full = self._member.unused_data, False
                self._member = zlib_ng.decompressobj(wbits=31)


def after_the_end(tar: tarfile.TarFile, last: str) -> str | None:
    """Read on after the last member: a tar ends with zeros, and one that was cut between members has none."""
    stream = tar.fileobj
    assert stream is not None
    length = 0
    while block := stream.read(_BLOCK):
        length += len(block)
        if block.strip(b"\0"):
            return f"there is no readable header after {last}"
    return None if length else f"it is truncated: it ends after {last}, with no end of a tar"
