"""Writes an archive: concatenates the pieces of its segments, checking and hashing them along the way."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from zlib_ng import zlib_ng

from envbuilder.archive.segment import Segment, iter_pieces
from envbuilder.archive.tar import END_OF_ARCHIVE, gzip_member
from envbuilder.progress import SILENT, Reporter, Task

_CHUNK: Final = 2**20
_AHEAD: Final = 16
"""Chunks that may wait to be hashed: bounds the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A written archive."""

    sha256: str
    size: int
    """Bytes."""


class DamagedPieceError(Exception):
    """Bytes of a segment or artifact changed since the segment was built."""

    def __init__(self, segment: Segment, *, artifact: str | None, what: str) -> None:
        super().__init__(what)
        self.segment = segment
        self.artifact = artifact
        """sha256 of the damaged artifact; None if the segment's own bytes are damaged."""


def write_archive(
    segments: Iterable[Segment],
    out: Path,
    *,
    artifacts: Callable[[str], Path],
    level: int,
    uncompressed: bool = False,
    expected: int | None = None,
    reporter: Reporter = SILENT,
) -> Written:
    """Write the archive of *segments*, in order, to *out*, which must not exist.

    *artifacts* returns the path of the artifact with a sha256; *expected* is the approximate size in bytes.
    With *uncompressed* the members are inflated and the archive is a plain tar. The file is synced to disk on return.

    Raises:
        DamagedPieceError: a segment's or an artifact's bytes have changed; the output is incomplete.
    """
    with (
        out.open("xb", buffering=0) as file,
        HashedFile(file, inflate=uncompressed) as sink,
        reporter.task("Packing", expected) as task,
    ):
        for segment in segments:
            write_segment(segment, sink, artifacts, task)
        sink.write(gzip_member(END_OF_ARCHIVE, level))
        sha256 = sink.finish()
        return Written(sha256=sha256, size=file.tell())


def write_segment(segment: Segment, sink: HashedFile, artifacts: Callable[[str], Path], task: Task) -> None:
    """Write the members of *segment*; parts of artifacts are copied from the files that *artifacts* returns.

    Raises:
        DamagedPieceError: a piece changed, or is missing.
    """
    try:
        with segment.literals.open("rb") as literals:
            artifact = artifacts(segment.artifact).open("rb") if segment.artifact else None
            try:
                for position, piece in iter_pieces(segment):
                    crc = sink.copy(literals, position, piece.literal)
                    if crc != piece.literal_crc:
                        raise DamagedPieceError(segment, artifact=None, what="its own bytes have changed")
                    task.advance(piece.literal)
                    if artifact is None or not piece.splice:
                        continue
                    crc = sink.copy(artifact, piece.offset, piece.splice)
                    if crc != piece.splice_crc:
                        raise DamagedPieceError(
                            segment, artifact=segment.artifact, what=f"{segment.label} has changed"
                        )
                    task.advance(piece.splice)
            finally:
                if artifact is not None:
                    artifact.close()
    except FileNotFoundError as error:
        gone = segment.artifact if str(error.filename).endswith(str(segment.artifact)) else None
        raise DamagedPieceError(segment, artifact=gone, what=f"{segment.label} is gone") from error


class HashedFile:
    """A file that is hashed by another thread while it is written."""

    def __init__(self, file: BinaryIO, *, inflate: bool) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self._inflate = _Inflater() if inflate else None

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._hasher.shutdown(wait=True, cancel_futures=True)

    def copy(self, source: BinaryIO, offset: int, size: int) -> int:
        """Copy *size* bytes from *offset* of *source*; return their CRC-32.

        The bytes that are written are the ones that were checked and hashed, so nothing can change them in between;
        this is why ``copy_file_range`` is not used. A source that ends early gives another CRC.
        """
        crc = 0
        while size:
            data = os.pread(source.fileno(), min(_CHUNK, size), offset)
            if not data:
                return -1
            crc = zlib_ng.crc32(data, crc)
            self.write(data)
            offset += len(data)
            size -= len(data)
        return crc

    def write(self, data: bytes) -> None:
        """Write *data*, inflated if the archive is a plain tar."""
        for part in (data,) if self._inflate is None else self._inflate.feed(data):
            self._waiting.append(self._hasher.submit(self._hash.update, part))
            view = memoryview(part)
            while view:
                view = view[self._file.write(view) :]
        while len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()

    def finish(self) -> str:
        """Wait until everything is hashed and synced to disk; return the sha256."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._hash.hexdigest()


class _Inflater:
    """Inflates gzip members one after another."""

    def __init__(self) -> None:
        self._stream = zlib_ng.decompressobj(31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            part = self._stream.decompress(data, _CHUNK)  # a stream of zeros expands a thousandfold
            if part:
                yield part
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream = zlib_ng.decompressobj(31)
