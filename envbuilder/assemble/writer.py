"""Write a segment from entries: tar headers, gzip members, splices and facts, using several threads.

Small files come first, grouped into members of a few MiB; then each large file that is already deflated in the wheel,
as a member of its own with the wheel's stream. The grouping depends only on the sizes in the entries, never on
threads.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from zlib_ng import zlib_ng

from envbuilder.archive.elf import MAGIC, read_elf
from envbuilder.archive.entry import Entry
from envbuilder.archive.member import DEFLATED
from envbuilder.archive.member_file import MemberFile
from envbuilder.archive.segment import Excluded, FileFacts, KeptFile, Piece, Segment
from envbuilder.archive.tar import BLOCK, GZIP_HEADER, gzip_member, gzip_trailer, padding, tar_header
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError

SPLICE_THRESHOLD: Final = 16 * 1024
"""Smallest deflate stream that is copied; smaller ones compress better together (measured)."""
MEMBER_SIZE: Final = 4 * 2**20
"""Size of a member of small files, in bytes of tar."""
_KEPT: Final = 8 * 2**20
"""Largest file kept in memory until its ELF facts are read; parts of a larger one are inflated again."""
_CHUNK: Final = 2**20
_IN_FLIGHT: Final = 6
"""Members in progress at a time: bounds the memory to some tens of MiB."""


@dataclass(slots=True)
class _Made:
    """One completed member of the segment."""

    literal: bytes
    facts: list[FileFacts]
    splice: tuple[int, int, int, int, int] | None = None
    """Offset, length and CRC of the stream, CRC and size of the file."""


class SegmentWriter:
    """Writes one segment into *folder*; members are read from *wheel*.

    *executor* runs the work; results are written in order. *progress* is called with the bytes of each piece.
    """

    def __init__(
        self,
        folder: Path,
        *,
        level: int,
        executor: Executor,
        wheel: ZipDirectory | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._level = level
        self._executor = executor
        self._wheel = wheel
        self._progress = progress
        self._pieces: list[Piece] = []
        self._facts: list[FileFacts] = []
        self._under_way: deque[Future[_Made]] = deque()
        self._begun: dict[str, Future[_Made]] = {}
        """Splices that were started ahead of their turn, by path."""
        self._pending = bytearray()
        self._pending_literal = b""
        self._literals: BinaryIO = (folder / "literals").open("xb")
        self._size = 0

    def write(
        self,
        entries: Iterable[Entry],
        last: Callable[[Sequence[FileFacts]], Iterable[Entry]] = lambda _: (),
    ) -> None:
        """Write *entries*, then those that *last* derives from the facts of the others (a RECORD)."""
        small: list[Entry] = []
        large: list[Entry] = []
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.path)):
            (large if self._is_large(entry) else small).append(entry)
        # The longest start first, so that none runs alone at the end. Their result is small: a header.
        splices = [entry for entry in large if _is_splice(entry)]
        for entry in sorted(splices, key=lambda entry: -entry.size):
            self._begun[entry.path] = self._executor.submit(self._make_splice, entry)
        for group in _groups(small):
            self._submit(self._make_small, group)
        for entry in large:
            if _is_splice(entry):
                self._under_way.append(self._begun.pop(entry.path))
                self._drain(_IN_FLIGHT)
            else:
                self._write_large(entry)
        self._drain(0)
        for group in _groups(sorted(last(tuple(self._facts)), key=lambda entry: os.fsencode(entry.path))):
            self._submit(self._make_small, group)
        self._drain(0)
        self._flush_padding()

    def finish(
        self,
        *,
        key: str,
        label: str,
        artifact: str | None,
        omitted: Sequence[FileFacts] = (),
        excluded: Sequence[Excluded] = (),
        kept: Mapping[str, str] | None = None,
    ) -> Segment:
        """Close the segment and return it, still in its folder."""
        if self._pending_literal:
            self._add_piece(b"")
        self._literals.close()
        return Segment(
            key=key,
            label=label,
            artifact=artifact,
            pieces=tuple(self._pieces),
            size=self._size,
            files=tuple(sorted(self._facts, key=lambda file: os.fsencode(file.path))),
            omitted=tuple(omitted),
            excluded=tuple(excluded),
            kept=tuple(KeptFile(path, by) for path, by in sorted((kept or {}).items())),
            folder=self._folder,
        )

    def close(self) -> None:
        """Abort: wait for running work and close the file."""
        for future in (*self._under_way, *self._begun.values()):
            future.cancel()
        self._literals.close()

    # -- members -----------------------------------------------------------------------------------

    def _is_large(self, entry: Entry) -> bool:
        if entry.link is not None:
            return False
        if entry.member is not None and entry.member.method == DEFLATED:
            return _is_splice(entry)
        return entry.size > MEMBER_SIZE

    def _write_large(self, entry: Entry) -> None:
        """Write a file that is stored in the wheel, or not from it: compressed here, one member per few MiB."""
        size = entry.size
        header = tar_header(os.fsencode(entry.path), size=size, mode=entry.mode)
        self._drain(0)
        digest, pending, position = hashlib.sha256(), bytearray(header), 0
        for chunk in self.content(entry):
            digest.update(chunk)
            pending += chunk
            position += len(chunk)
            if len(pending) >= MEMBER_SIZE:
                self._submit(self._make_plain, bytes(pending))
                pending = bytearray()
        if position != size:
            raise AssembleError(
                f"{entry.source} changed while it was being read: {size} bytes, then {position}"
            )
        pending += padding(position)
        self._submit(self._make_plain, bytes(pending))
        self._drain(0)
        self._facts.append(self._fact(entry, position, digest.hexdigest()))

    def _make_plain(self, data: bytes) -> _Made:
        return _Made(gzip_member(data, self._level), [])

    def _make_small(self, entries: Sequence[Entry]) -> _Made:
        out, facts = bytearray(), []
        for entry in entries:
            path = os.fsencode(entry.path)
            if entry.link is not None:
                link = os.fsencode(entry.link)
                out += tar_header(path, mode=0o777, link=link)
                facts.append(
                    FileFacts(entry.path, 0o777, 0, hashlib.sha256(link).hexdigest(), link=entry.link)
                )
                continue
            data = b"".join(self.content(entry))
            out += tar_header(path, size=len(data), mode=entry.mode)
            out += data
            out += padding(len(data))
            if path.endswith(b"/"):
                continue  # empty folders are archived, but are not files
            facts.append(self._fact(entry, len(data), hashlib.sha256(data).hexdigest(), data))
        return _Made(gzip_member(out, self._level), facts)

    def _make_splice(self, entry: Entry) -> _Made:
        member = entry.member
        assert self._wheel is not None
        assert member is not None
        header = tar_header(os.fsencode(entry.path), size=member.size, mode=entry.mode)
        offset = self._wheel.stream_offset(member)
        digest = hashlib.sha256()
        opened = MemberFile(self._wheel, member)
        head, kept = b"", bytearray()
        for chunk in opened.scan():
            head = head or chunk[:4]
            digest.update(chunk)
            if head == MAGIC and member.size <= _KEPT:
                kept += chunk
        elf = None
        if head == MAGIC:
            elf = read_elf(io.BytesIO(kept) if kept else io.BufferedReader(opened))
        facts = FileFacts(entry.path, entry.mode, member.size, digest.hexdigest(), elf=elf)
        splice = (offset, member.compressed, opened.stream_crc, member.crc, member.size)
        return _Made(gzip_member(header, self._level), [facts], splice)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """Yield what *entry* holds."""
        if entry.member is not None:
            assert self._wheel is not None
            yield from self._wheel.chunks(entry.member)
        elif entry.source is not None:
            with entry.source.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        else:
            yield entry.data or b""

    def _fact(self, entry: Entry, size: int, sha256: str, data: bytes | None = None) -> FileFacts:
        elf = None
        if data is not None and data.startswith(MAGIC):
            elf = read_elf(io.BytesIO(data))
        elif data is None and entry.source is not None:
            with entry.source.open("rb") as file:
                elf = read_elf(file) if file.read(4) == MAGIC else None
        elif data is None and entry.member is not None and self._wheel is not None:
            elf = read_elf(io.BufferedReader(MemberFile(self._wheel, entry.member)))
        return FileFacts(entry.path, entry.mode, size, sha256, elf=elf)

    # -- in order ----------------------------------------------------------------------------------

    def _submit(self, make: Callable[..., _Made], *args: object) -> None:
        self._under_way.append(self._executor.submit(make, *args))
        self._drain(_IN_FLIGHT)

    def _drain(self, leave: int) -> None:
        while len(self._under_way) > leave:
            made = self._under_way.popleft().result()
            self._facts.extend(made.facts)
            if made.splice is None:
                self._flush_padding()
                self._pending_literal += made.literal
                if len(self._pending_literal) > MEMBER_SIZE:
                    self._add_piece(b"")
                continue
            offset, length, stream_crc, crc, size = made.splice
            self._flush_padding()
            self._add_piece(made.literal + GZIP_HEADER, (offset, length, stream_crc))
            self._pending_literal = gzip_trailer(crc, size)
            self._pending += padding(size)

    def _flush_padding(self) -> None:
        """Write the padding after a spliced file as a member of its own."""
        if self._pending:
            self._pending_literal += gzip_member(self._pending, self._level)
            self._pending.clear()

    def _add_piece(self, literal: bytes, splice: tuple[int, int, int] = (0, 0, 0)) -> None:
        data = self._pending_literal + literal
        self._pending_literal = b""
        self._literals.write(data)
        self._pieces.append(Piece(len(data), zlib_ng.crc32(data), *splice))
        self._size += len(data) + splice[1]
        self._progress(len(data) + splice[1])


def _is_splice(entry: Entry) -> bool:
    """Return whether the deflate stream of a file is copied into the archive."""
    member = entry.member
    return (
        entry.link is None
        and member is not None
        and member.method == DEFLATED
        and member.compressed >= SPLICE_THRESHOLD
    )


def _groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Group entries into about MEMBER_SIZE bytes of tar."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += BLOCK + entry.size
        if size >= MEMBER_SIZE:
            yield group
            group, size = [], 0
    if group:
        yield group
