"""Segments: what one artifact contributes to archives, built once per machine and kept in the store.

A segment on disk is a folder of two files. ``literals`` holds the gzip members that were compressed here.
``segment.json`` holds the facts and the list of pieces: each is a run of bytes of ``literals`` followed by a run of
bytes of the artifact itself (a *splice*: a deflate stream of the wheel), each with its CRC-32.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.elf import ElfFacts
from envbuilder.store.local import Store
from envbuilder.util.documents import DIGEST, LARGEST, LISTING, DocumentError, Record, parse_json
from envbuilder.util.printable import shown

_LITERALS: Final = "literals"
_FACTS: Final = "segment.json"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of an environment."""

    path: str
    mode: int
    size: int
    sha256: str
    """SHA-256 of the content, or of a link's target."""
    link: str | None = None
    elf: ElfFacts | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of literal bytes, then a run of the artifact's bytes (either may be empty)."""

    literal: int
    literal_crc: int
    offset: int = 0
    splice: int = 0
    splice_crc: int = 0


@dataclass(frozen=True, slots=True)
class Excluded:
    """What one pattern excluded from a segment."""

    pattern: str
    files: int
    size: int
    """Bytes, unpacked."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that matches an exclusion rule but was kept because a module imports it."""

    path: str
    imported_by: str
    """The module's dotted name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What one artifact contributes to an archive."""

    key: str
    label: str
    """For messages: the artifact's file name, ``base`` or ``environment``."""
    artifact: str | None
    """sha256 of the artifact with the spliced bytes; None without splices."""
    pieces: tuple[Piece, ...]
    size: int
    """Bytes in an archive."""
    files: tuple[FileFacts, ...]
    omitted: tuple[FileFacts, ...] = ()
    """Files of the artifact that another artifact contributes already, with the same content."""
    excluded: tuple[Excluded, ...] = ()
    kept: tuple[KeptFile, ...] = ()
    """Sorted by path."""
    folder: Path = field(compare=False)
    digest: str = field(default="", compare=False)
    """sha256 of all facts above, once it is saved."""

    @property
    def literals(self) -> Path:
        """The file of the segment's own bytes."""
        return self.folder / _LITERALS

    @property
    def unpacked(self) -> int:
        """Bytes of the files."""
        return sum(file.size for file in self.files)

    def save(self) -> str:
        """Write ``segment.json`` into the segment's folder; return the sha256 of the facts in it."""
        body = json.dumps(self._to_json(), separators=(",", ":"), sort_keys=True).encode()
        check = hashlib.sha256(body).hexdigest()
        (self.folder / _FACTS).write_bytes(check.encode() + b"\n" + body)
        return check

    def _to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "label": self.label,
            "artifact": self.artifact,
            "size": self.size,
            "pieces": [[p.literal, p.literal_crc, p.offset, p.splice, p.splice_crc] for p in self.pieces],
            "files": [_fields(file) for file in self.files],
            "omitted": [_fields(file) for file in self.omitted],
            "excluded": [[e.pattern, e.files, e.size] for e in self.excluded],
            "kept": [[k.path, k.imported_by] for k in self.kept],
        }


class DamagedSegmentError(Exception):
    """The store's entry for a segment is damaged."""


def load_segment(folder: Path, key: str) -> Segment:
    """Load a segment.

    Raises:
        DamagedSegmentError: its facts or pieces were modified, or a part is missing.
    """
    try:
        check, _, body = (folder / _FACTS).read_bytes().partition(b"\n")
        literal_size = (folder / _LITERALS).stat().st_size
    except OSError as error:
        raise DamagedSegmentError(f"{folder.name[:12]}: {error.strerror}") from error
    if hashlib.sha256(body).hexdigest().encode() != check:
        raise DamagedSegmentError(f"{folder.name[:12]}: the list of pieces has changed")
    try:
        facts = parse_json(body, where=folder.name[:12], cap=LISTING)
        return replace(_read(facts, folder, key, literal_size), digest=check.decode())
    except DocumentError as error:
        raise DamagedSegmentError(error.message) from error


def _read(facts: Record, folder: Path, key: str, literal_size: int) -> Segment:
    pieces = tuple(Piece(*_numbers(facts, "pieces", row, 5)) for row in _rows(facts, "pieces"))
    if facts.text("key") != key or sum(piece.literal for piece in pieces) != literal_size:
        raise DamagedSegmentError(f"{folder.name[:12]}: {literal_size} literal bytes do not match its pieces")
    return Segment(
        key=key,
        label=facts.text("label"),
        artifact=facts.digest("artifact") if "artifact" in facts else None,
        size=facts.integer("size"),
        pieces=pieces,
        files=tuple(_file(facts, "files", row) for row in _rows(facts, "files")),
        omitted=tuple(_file(facts, "omitted", row) for row in _rows(facts, "omitted")),
        excluded=tuple(_excluded(facts, row) for row in _rows(facts, "excluded")),
        kept=tuple(_kept(facts, row) for row in _rows(facts, "kept")),
        folder=folder,
    )


def _fields(file: FileFacts) -> list[Any]:
    elf = asdict(file.elf) if file.elf else None
    return [file.path, file.mode, file.size, file.sha256, file.link, elf]


def _rows(facts: Record, key: str) -> list[list[Any]]:
    rows = facts.value.get(key)
    if not isinstance(rows, list):
        facts.expected(key, "a list")
    for row in rows:
        if not isinstance(row, list):
            facts.fail(key, f"expected a list of lists, found {shown(row)}")
    return rows


def _numbers(facts: Record, key: str, row: Sequence[Any], count: int) -> Sequence[int]:
    """Return a row of *count* non-negative numbers."""
    if len(row) == count and all(type(one) is int and 0 <= one <= LARGEST for one in row):
        return row
    facts.fail(key, f"expected {count} numbers, found {', '.join(shown(one) for one in row[:6])}")


def _file(facts: Record, key: str, row: Sequence[Any]) -> FileFacts:
    if len(row) == 6:
        path, mode, size, sha256, link, elf = row
        texts = isinstance(path, str) and isinstance(sha256, str) and isinstance(link, (str, type(None)))
        inside = texts and path and path[0] != "/" and "/../" not in f"/{path}/" and "\0" not in path
        if inside and DIGEST.pattern.fullmatch(sha256):
            _numbers(facts, key, (mode, size), 2)
            return FileFacts(path, mode, size, sha256, link, _elf(facts, elf) if elf else None)
    facts.fail(key, f"expected the facts of a file, found {', '.join(shown(one) for one in row[:6])}")


def _elf(facts: Record, fields: object) -> ElfFacts:
    if not isinstance(fields, dict) or set(fields) != set(ElfFacts.__slots__):
        facts.fail("files", f"expected the facts of an ELF file, found {shown(fields)}")
    for name in ("needs", "runpath"):
        if not isinstance(fields[name], list) or not all(isinstance(one, str) for one in fields[name]):
            facts.fail("files", f"expected a list of texts as {name}, found {shown(fields[name])}")
    for name in ("soname", "glibc", "glibcxx"):
        if not isinstance(fields[name], (str, type(None))):
            facts.fail("files", f"expected a text as {name}, found {shown(fields[name])}")
    return ElfFacts(**{**fields, "needs": tuple(fields["needs"]), "runpath": tuple(fields["runpath"])})


def _excluded(facts: Record, row: Sequence[Any]) -> Excluded:
    if len(row) != 3 or not isinstance(row[0], str):
        facts.fail("excluded", f"expected a pattern and two numbers, found {shown(row)}")
    files, size = _numbers(facts, "excluded", row[1:], 2)
    return Excluded(row[0], files, size)


def _kept(facts: Record, row: Sequence[Any]) -> KeptFile:
    if len(row) != 2 or not all(isinstance(text, str) for text in row):
        facts.fail("kept", f"expected a path and a module, found {shown(row)}")
    return KeptFile(*row)


def keep(segment: Segment, store: Store) -> Segment:
    """Move a segment from a temporary folder into the store, and return the stored one."""
    digest = segment.save()
    place = store.entry_path("segments", segment.key)
    for last in (False, False, True):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            segment.folder.rename(place)
            return replace(segment, folder=place, digest=digest)
        except OSError as error:
            if last or error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
                raise
        # Another build was faster; a segment is a function of its key, so either will do. The existing one is loaded
        # before it is trusted, and replaced if it is damaged (or half evicted).
        try:
            return load_segment(place, segment.key)
        except DamagedSegmentError:
            shutil.rmtree(place, ignore_errors=True)
    raise AssertionError("unreachable")


def iter_pieces(segment: Segment) -> Iterator[tuple[int, Piece]]:
    """Yield each piece with the offset of its literal bytes in ``literals``."""
    position = 0
    for piece in segment.pieces:
        yield position, piece
        position += piece.literal
