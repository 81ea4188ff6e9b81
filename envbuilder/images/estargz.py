"""eStargz: a layer with a table of contents behind it, so that a runtime reads single files before all bytes are there.

The format (containerd's stargz-snapshotter, ``docs/estargz.md``) requires that each unit of reading starts a gzip
member, as in segments: a large file has its own members, and small ones share a member, in which a file is found by
``innerOffset`` (snapshotter 0.13 and later). The table is a file of the tar, ``stargz.index.json``, in a member of
its own, and an empty member at the end says where. A runtime that does not know it sees one file more in the
image's root.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.tar import END_OF_ARCHIVE, gzip_member, padding, tar_header
from envbuilder.images.split import Members

TOC: Final = "stargz.index.json"
_LEVEL: Final = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """The end of an eStargz layer."""

    data: bytes
    digest: str
    """``sha256:…`` of the table of contents."""


def tail_of(layer: Path) -> Tail:
    """Return the end of the layer in the file *layer*, which contains its gzip members without an end.

    Raises:
        DamagedTarError, StreamError: it is not such a tar.
    """
    document = {"version": 1, "entries": list(_entries(layer))}
    toc = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    packed = tar_header(TOC.encode(), size=len(toc), mode=0o444) + toc + padding(len(toc)) + END_OF_ARCHIVE
    offset = layer.stat().st_size
    return Tail(
        data=gzip_member(packed, _LEVEL) + footer(offset), digest=f"sha256:{hashlib.sha256(toc).hexdigest()}"
    )


def footer(offset: int) -> bytes:
    """Return the empty gzip member of 51 bytes with the *offset* of the table's member."""
    extra = b"SG" + (22).to_bytes(2, "little") + b"%016xSTARGZ" % offset
    head = bytes((0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 255)) + len(extra).to_bytes(2, "little") + extra
    return head + b"\x01\x00\x00\xff\xff" + bytes(8)  # a stored block of no bytes, its CRC-32 and its length


def read_footer(data: bytes) -> int | None:
    """Return the offset of the table's member from the last 51 bytes of a layer; None: it has no table."""
    if len(data) != 51 or data[:4] != b"\x1f\x8b\x08\x04" or data[12:14] != b"SG" or data[32:38] != b"STARGZ":
        return None
    try:
        return int(data[16:32], 16)
    except ValueError:
        return None


def _entries(layer: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, in the order of the tar."""
    with layer.open("rb") as file:
        stream = Members(file, plain=False)
        for _ in BoundedTar(stream):
            pass
        stream.drain()
        places = stream.places
    starts = sorted(places)
    with layer.open("rb") as file:
        tar = BoundedTar(Members(file, plain=False))
        for member in tar:
            row = _row(member)
            if not member.isreg() or not member.size:
                yield row
                continue
            yield from _chunks(row, tar, member, places, starts)


def _row(member: tarfile.TarInfo) -> dict[str, Any]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(member.mtime)))
    row: dict[str, Any] = {"name": member.name, "mode": member.mode, "modtime": when, "uid": 0, "gid": 0}
    if member.isdir():
        return {**row, "type": "dir", "name": f"{member.name}/"}
    if member.issym():
        return {**row, "type": "symlink", "linkName": member.linkname}
    return {**row, "type": "reg", "size": member.size}


def _chunks(
    row: dict[str, Any], tar: BoundedTar, member: tarfile.TarInfo, places: dict[int, int], starts: list[int]
) -> Iterator[dict[str, Any]]:
    """Yield a file's row, and one for each further gzip member of its content."""
    begin, end = member.offset_data, member.offset_data + member.size
    first = bisect.bisect_right(starts, begin) - 1
    cuts = [begin, *starts[first + 1 : bisect.bisect_left(starts, end)], end]
    whole = hashlib.sha256()
    digests = [hashlib.sha256() for _ in cuts[1:]]
    position, number = begin, 0
    for data in tar.chunks(member):
        whole.update(data)
        view = memoryview(data)
        while view:
            part = view[: cuts[number + 1] - position]
            digests[number].update(part)
            position += len(part)
            view = view[len(part) :]
            if position == cuts[number + 1]:
                number += 1
    for index, digest in enumerate(digests):
        start = starts[bisect.bisect_right(starts, cuts[index]) - 1]
        size = cuts[index + 1] - cuts[index]
        chunk: dict[str, Any] = {"offset": places[start], "chunkDigest": f"sha256:{digest.hexdigest()}"}
        if cuts[index] != start:
            chunk["innerOffset"] = cuts[index] - start
        if index:
            chunk |= {
                "name": member.name,
                "type": "chunk",
                "chunkOffset": cuts[index] - begin,
                "chunkSize": size,
            }
        elif len(digests) > 1:
            chunk |= {**row, "digest": f"sha256:{whole.hexdigest()}", "chunkSize": size}
        else:
            chunk |= {**row, "digest": f"sha256:{whole.hexdigest()}"}
        yield chunk
