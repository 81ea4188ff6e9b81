"""One file in a zip, and facts about its stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from zlib_ng import zlib_ng

STORED: Final = 0
DEFLATED: Final = 8


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a zip."""

    name: str
    method: int
    """0: stored, 8: deflated."""
    crc: int
    compressed: int
    """Size of the compressed stream in bytes."""
    size: int
    """Size of the file in bytes."""
    header_offset: int
    mode: int
    """Unix permission bits; 0 if the zip has none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A position in a deflate stream from which it can be read again."""

    position: int
    """Bytes of the file before it."""
    offset: int
    """Offset in the zip at which the stream continues."""
    left: int
    """Bytes of the stream from there."""
    state: zlib_ng._Decompress


@dataclass(slots=True)
class Scan:
    """Facts about a stream, collected while it is inflated."""

    marks: list[Mark] = field(default_factory=list)
    """Seek points, one every few MiB."""
    crc: int = 0
    """CRC-32 of the stream's own bytes."""
