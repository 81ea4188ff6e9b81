"""Tar archives written field by field, so that any of it may be untrue, and bombs that cost nothing to make."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)


def number(value: int, width: int) -> bytes:
    """A number as tar has it: octal, or in base 256 where it is too large or negative."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    wide: int = value % 256**width | 0x80 << 8 * (width - 1)
    return wide.to_bytes(width, "big")


def header(
    name: bytes | str,
    *,
    size: int = 0,
    kind: bytes = b"0",
    mode: int = 0o644,
    mtime: int = 0,
    link: bytes | str = b"",
    fields: Mapping[int, bytes] | None = None,
) -> bytes:
    """One header; *fields* are written over it at their offsets, and the checksum is right all the same."""
    name = name.encode() if isinstance(name, str) else name
    link = link.encode() if isinstance(link, str) else link
    block = bytearray(BLOCK)
    for offset, value in {
        0: name[:100],
        100: number(mode, 8),
        108: number(0, 8),
        116: number(0, 8),
        124: number(size, 12),
        136: number(mtime, 12),
        156: kind,
        157: link[:100],
        257: b"ustar\x0000",
        **(fields or {}),
    }.items():
        block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """*data*, and zeros up to a block."""
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes | str, data: bytes = b"", **fields: int) -> bytes:
    """A file."""
    return header(name, size=len(data), **fields) + padded(data)  # type: ignore[arg-type]  # numbers, by name


def record(key: bytes, value: bytes) -> bytes:
    """One PAX record: its own length in digits, key, value."""
    length = len(key) + len(value) + 3
    while length != len(str(length)) + len(key) + len(value) + 3:
        length = len(str(length)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header for the member that follows it (kind ``g``: for all)."""
    body = b"".join(record(key, value) for key, value in records)
    return header("pax", size=len(body), kind=kind) + padded(body)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU's long name (``L``) or link target (``K``) for the member that follows."""
    return header("././@LongLink", size=len(name) + 1, kind=kind) + padded(name + b"\0")


def zeros(size: int, byte: bytes = b"\0") -> Iterator[bytes]:
    """Gzip members that unpack to *size* times *byte*, a thousand times smaller; *size* is rounded up to 16 MiB."""
    piece = gzip.compress(byte * 2**24, 9, mtime=0)
    for _ in range(-(-size // 2**24)):
        yield piece


def write(path: Path, parts: Iterable[bytes]) -> Path:
    """Write *parts* to a file."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
    return path


def zipped(*parts: bytes) -> bytes:
    """*parts* as one gzip member."""
    return gzip.compress(b"".join(parts), 1, mtime=0)


def bomb(size: int) -> bytes:
    """A single deflate stream of *size* zeros in one gzip member, whose checksum is not theirs."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = stream.compress(bytes(2**24)) + stream.flush(zlib.Z_FULL_FLUSH)  # it can stand after itself
    return bytes((31, 139, 8, 0, 0, 0, 0, 0, 0, 255)) + piece * (size >> 24) + b"\3\0" + bytes(8)
