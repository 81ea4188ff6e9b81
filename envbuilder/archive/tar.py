"""The bytes of an archive: tar headers, and gzip members around deflate streams.

A tar is a sequence of 512-byte blocks (POSIX.1-2001, *pax Interchange Format*); a gzip file is a sequence of
members (RFC 1952), each a deflate stream (RFC 1951) with its CRC-32 and its length modulo 2**32. Decompression
concatenates the members, so a tar can be split into members anywhere, and an existing deflate stream (from a
wheel) can be one of them.

The headers are written here, not by ``tarfile``, because their bytes must be the same under every Python that
runs this tool.
"""

from __future__ import annotations

import importlib.metadata
from typing import Final

from deflate import deflate_compress
from zlib_ng import zlib_ng

BLOCK: Final = 512
MTIME: Final = 315532800
"""1980-01-01, the oldest date in a zip file: the modification time of all files in all archives."""
END_OF_ARCHIVE: Final = bytes(2 * BLOCK)
GZIP_HEADER: Final = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255))
"""Gzip header: deflate, no name, no time, unknown system."""
COMPRESSOR: Final = f"deflate {importlib.metadata.version('deflate')}"
"""libdeflate in Python's package ``deflate``: a third faster than zlib-ng at the same size (measured)."""

_REGULAR: Final = b"0"
_SYMLINK: Final = b"2"
_DIRECTORY: Final = b"5"
_PAX: Final = b"x"
_OCTAL_SIZE_LIMIT: Final = 8**11
_BINARY = ("hdrcharset", b"BINARY")


def padding(size: int) -> bytes:
    """Return the zeros that pad a file of *size* bytes to a block."""
    return bytes(-size % BLOCK)


def tar_header(path: bytes, *, size: int = 0, mode: int = 0o644, link: bytes | None = None) -> bytes:
    """Return the header of one member: a file of *size* bytes, or with *link* a symbolic link.

    A *path* that ends in a slash is a folder. Owner, group, names and time are constant. PAX records
    are used only where the plain header is not enough: a path over 255 bytes (or one that cannot be split at a slash
    into 155 and 100), a link over 100 bytes, a size of 8 GiB or more.
    """
    records: list[tuple[str, bytes]] = []
    split = _split(path)
    if split is None:
        records.append(("path", path))
        split = (b"", path[:100])
    if link is not None and len(link) > 100:
        records.append(("linkpath", link))
    if size >= _OCTAL_SIZE_LIMIT:
        records.append(("size", str(size).encode()))
    kind = _SYMLINK if link is not None else _DIRECTORY if path.endswith(b"/") else _REGULAR
    plain = _block(split, size if size < _OCTAL_SIZE_LIMIT else 0, mode, kind, (link or b"")[:100])
    if not records:
        return plain
    if not all(value.isascii() for _, value in records):
        records.insert(0, _BINARY)  # libarchive would convert them to the server's locale, C, and fail
    body = b"".join(_record(key.encode(), value) for key, value in records)
    name = (b"", b"PaxHeaders/" + path.rstrip(b"/").rsplit(b"/", 1)[-1][:80])
    return _block(name, len(body), 0o644, _PAX, b"") + body + padding(len(body)) + plain


def gzip_member(data: bytes | bytearray, level: int) -> bytes:
    """Return *data* as one gzip member, compressed at *level* 0 to 9."""
    trailer = gzip_trailer(zlib_ng.crc32(data), len(data))
    return b"".join((GZIP_HEADER, deflate_compress(data, level), trailer))


def gzip_trailer(crc: int, size: int) -> bytes:
    """Return the trailer of a gzip member: CRC-32 and length modulo 2**32 of its content."""
    return crc.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """Split *path* into the header's prefix (155 bytes) and name (100); None if it does not fit."""
    if len(path) <= 100:
        return b"", path
    if len(path) > 256:
        return None
    # The rightmost slash before a name; a folder's trailing slash is not a split point.
    cut = path.rfind(b"/", 0, min(156, len(path) - 1))
    if cut <= 0 or len(path) - cut - 1 > 100:
        return None
    return path[:cut], path[cut + 1 :]


def _block(name: tuple[bytes, bytes], size: int, mode: int, kind: bytes, link: bytes) -> bytes:
    prefix, base = name
    block = bytearray(BLOCK)
    block[0 : len(base)] = base
    block[100:107] = b"%07o" % mode
    block[108:115] = block[116:123] = b"0000000"
    block[124:135] = b"%011o" % size
    block[136:147] = b"%011o" % MTIME
    block[148:156] = b"        "
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[329:336] = block[337:344] = b"0000000"
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\x00 " % sum(block)
    return bytes(block)


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH key=value\\n``, where LENGTH counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest
