"""One file of a zip, and what is learnt of its stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from zlib_ng import zlib_ng

STORED: Final = 0
DEFLATED: Final = 8


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a zip."""

    name: str
    method: int
    """0: stored, 8: deflated."""
    crc: int
    compressed: int
    """Bytes of the stream in the zip."""
    size: int
    """Bytes of the file."""
    header_offset: int
    mode: int
    """Unix permission bits, 0 where the zip says none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a deflate stream from which it can be read again."""

    position: int
    """Bytes of the file before it."""
    offset: int
    """Where the stream goes on in the zip."""
    left: int
    """Bytes of the stream from there."""
    state: zlib_ng._Decompress


@dataclass(slots=True)
class Scan:
    """What is learnt of a stream while it is inflated."""

    marks: list[Mark] = field(default_factory=list)
    """One every few MiB."""
    crc: int = 0
    """CRC-32 of the stream's own bytes."""
