"""A strict reader of zip directories: finds the bytes of each member, and rejects inconsistent zips.

``zipfile`` is lenient; here the compressed streams are copied into archives, so their boundaries must be unambiguous.
Checked according to PKWARE's APPNOTE 6.3.10: the central directory and the local header of a member agree; nothing
overlaps; names are unique, relative, and stay inside.
"""

from __future__ import annotations

import bisect
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from zlib_ng import zlib_ng

from envbuilder.archive.limits import RATIO, RATIO_FROM
from envbuilder.archive.member import DEFLATED, STORED, Mark, Member, Scan
from envbuilder.errors import AssembleError
from envbuilder.util.text import human

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MORE: Final = 256
"""Bytes read after a local header: most names and extra fields are shorter."""
_METHODS: Final = {1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}
_NEWEST: Final = 63
"""Version 6.3 of the format, the newest."""
_MOST_DIRECTORY: Final = 64 * 2**20
"""Largest size of the central directory: torch's is 2 MB, and each byte takes ten bytes of memory."""
MARK_EVERY: Final = 4 * 2**20
_CHUNK: Final = 2**16
"""Bytes read at a time: a stream can expand a thousandfold."""


class ZipDirectory:
    """The members of the zip in *file*; *path* names it in errors.

    Raises:
        AssembleError: it is not a zip, or its directory is inconsistent.
    """

    def __init__(self, file: BinaryIO, path: Path | str) -> None:
        self._fd = file.fileno()
        self._name = str(path)
        self._size = os.fstat(self._fd).st_size
        self._bounds: list[int] = []
        """Offsets of the members, sorted, and the end of the last one."""
        self.directory_offset, self.members = self._read_directory()

    # -- reading the directory ---------------------------------------------------------------------

    def _read_directory(self) -> tuple[int, dict[str, Member]]:
        offset, size, count = self._find_directory()
        if size > _MOST_DIRECTORY:
            raise self._error(
                f"its central directory takes {human(size)}, more than {human(_MOST_DIRECTORY)}"
            )
        data = self._read(offset, size, "central directory")
        members: dict[str, Member] = {}
        position = 0
        for number in range(count):
            member, position = self._read_entry(data, position, number)
            if member.name in members:
                raise self._error(f"two members are called {member.name!r}")
            members[member.name] = member
        if position != size:
            raise self._error(f"the central directory has {size} bytes, its {count} entries take {position}")
        self._check_places(iter(members.values()), offset)
        total = sum(member.size for member in members.values())
        if total > max(RATIO_FROM, RATIO * self._size):
            raise self._error(f"it unpacks to {human(total)}, more than {RATIO} times its size")
        return offset, {name: member for name, member in members.items() if not name.endswith("/")}

    def _find_directory(self) -> tuple[int, int, int]:
        """Return offset, size and number of entries of the central directory."""
        tail_size = min(self._size, _END.size + 0xFFFF)
        tail = self._read(self._size - tail_size, tail_size, "end")
        at = tail.rfind(b"PK\x05\x06", 0, max(len(tail) - _END.size + 4, 0))
        while at >= 0:  # a comment may contain the signature, too
            end = _END.unpack_from(tail, at)
            if at + _END.size + end[7] == len(tail):
                break
            at = tail.rfind(b"PK\x05\x06", 0, at)
        else:
            raise self._error("no end of central directory: it is truncated or not a zip")
        place = self._size - tail_size + at
        _, disk, start_disk, here, count, size, offset, _ = end
        if disk or start_disk or here != count:
            raise self._error("it is split over several disks")
        if 0xFFFF in (here, count) or 0xFFFFFFFF in (size, offset):
            offset, size, count, place = self._find_directory64(place)
        if offset + size != place:  # other readers would interpret a gap as data before the zip
            raise self._error(
                f"its central directory ends at {offset + size}, the record that names it begins at {place}"
            )
        return offset, size, count

    def _find_directory64(self, end_place: int) -> tuple[int, int, int, int]:
        at = end_place - _END64_LOCATOR.size
        magic, disk, place, disks = _END64_LOCATOR.unpack(
            self._read(at, _END64_LOCATOR.size, "zip64 locator")
        )
        if magic != b"PK\x06\x07" or disk or disks > 1:
            raise self._error("its zip64 locator is missing")
        fields = _END64.unpack(self._read(place, _END64.size, "zip64 end"))
        if fields[0] != b"PK\x06\x06" or fields[4] or fields[5] or fields[6] != fields[7]:
            raise self._error("its zip64 end of central directory is inconsistent")
        count, size, offset = fields[7], fields[8], fields[9]
        if count > size // _CENTRAL.size:
            raise self._error(f"its central directory claims {count} entries in {size} bytes")
        return offset, size, count, place

    def _read_entry(self, data: bytes, position: int, number: int) -> tuple[Member, int]:
        if len(data) - position < _CENTRAL.size:
            raise self._error(f"entry {number} of its central directory is cut off")
        fields = _CENTRAL.unpack_from(data, position)
        magic, made_by, needed, flags, method, _, _, crc, compressed, size, n, m, k = fields[:13]
        attributes, offset = fields[15], fields[16]
        if magic != b"PK\x01\x02":
            raise self._error(f"entry {number} of its central directory has no signature")
        begin = position + _CENTRAL.size
        if len(data) - begin < n + m + k:
            raise self._error(f"entry {number} of its central directory is cut off")
        raw, extra = data[begin : begin + n], data[begin + n : begin + n + m]
        name = self._decode_name(raw, flags, number)
        if flags & 0x2041:
            raise self._error(f"{name}: encrypted")
        if needed & 0xFF > _NEWEST:
            raise self._error(f"{name}: needs version {(needed & 0xFF) / 10} of the format")
        if flags & 0x20:
            raise self._error(f"{name}: a patch of another file")
        if method not in (STORED, DEFLATED):
            raise self._error(f"{name}: compression method {method} ({_METHODS.get(method, 'unknown')})")
        size, compressed, offset = self._zip64(extra, size, compressed, offset, name)
        if method == STORED and size != compressed:
            raise self._error(f"{name}: stored, but {size} bytes are said to take {compressed}")
        mode = attributes >> 16 & 0xFFFF if made_by >> 8 == 3 else 0
        if mode and mode & 0o170000 not in (0, 0o100000, 0o040000):
            raise self._error(f"{name}: neither a file nor a folder")
        member = Member(name, method, crc, compressed, size, offset, mode & 0o777)
        return member, begin + n + m + k

    def _decode_name(self, raw: bytes, flags: int, number: int) -> str:
        try:
            name = raw.decode("utf-8" if flags & 0x800 else "cp437")
        except UnicodeDecodeError:
            raise self._error(f"the name of entry {number} says it is UTF-8 and is not: {raw!r}") from None
        parts = (name[:-1] if name.endswith("/") else name).split("/")
        if "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
            raise self._error(f"the name {name!r} is not a relative path that stays inside")
        return name

    def _zip64(
        self, extra: bytes, size: int, compressed: int, offset: int, name: str
    ) -> tuple[int, int, int]:
        """Replace fields with all bits set by those of the zip64 extra field, in order."""
        wide = [value == 0xFFFFFFFF for value in (size, compressed, offset)]
        if not any(wide):
            return size, compressed, offset
        position = 0
        while position + 4 <= len(extra):
            kind, length = struct.unpack_from("<HH", extra, position)
            if kind == 1:
                body = extra[position + 4 : position + 4 + length]
                if len(body) < 8 * sum(wide):
                    break
                values = iter(struct.unpack_from(f"<{sum(wide)}Q", body))
                size, compressed, offset = (
                    next(values) if is_wide else value
                    for is_wide, value in zip(wide, (size, compressed, offset), strict=True)
                )
                return size, compressed, offset
            position += 4 + length
        raise self._error(f"{name}: its 64-bit lengths are missing")

    def _check_places(self, members: Iterator[Member], directory: int) -> None:
        previous, end = "", 0
        for member in sorted(members, key=lambda member: member.header_offset):
            self._bounds.append(member.header_offset)
            if member.header_offset < end:
                raise self._error(f"{member.name} begins at {member.header_offset}, inside {previous}")
            previous = member.name
            end = member.header_offset + _LOCAL.size + member.compressed
            if end > directory:
                raise self._error(f"{member.name} ends at {end}, past the files' end at {directory}")
        self._bounds.append(directory)

    # -- reading members ---------------------------------------------------------------------------

    def stream_offset(self, member: Member) -> int:
        """Return the offset of the compressed bytes of *member*, after checking its local header."""
        return self._begin(member, 0)[0]

    def _begin(self, member: Member, more: int) -> tuple[int, bytes]:
        """Return the offset of the compressed bytes, and the first *more* of them if one read returned both."""
        most = self._size - member.header_offset
        read = self._read(
            member.header_offset, min(_LOCAL.size + _LOCAL_MORE + more, most), f"header of {member.name}"
        )
        magic, _, flags, method, _, _, crc, compressed, size, n, m = _LOCAL.unpack_from(read)
        if magic != b"PK\x03\x04":
            raise self._error(f"{member.name}: no header at {member.header_offset}")
        raw = read[_LOCAL.size : _LOCAL.size + n]
        if len(raw) < n:
            raw = self._read(member.header_offset + _LOCAL.size, n, f"header of {member.name}")
        if self._decode_name(raw, flags, -1) != member.name:
            raise self._error(f"{member.name}: its own header calls it {raw!r}")
        told_later = flags & 0x8  # sizes follow the data; those in the header are zero
        same = told_later or (
            crc == member.crc
            and compressed in (member.compressed, 0xFFFFFFFF)
            and size in (member.size, 0xFFFFFFFF)
        )
        if method != member.method or not same:
            raise self._error(f"{member.name}: its own header and the central directory differ")
        offset: int = member.header_offset + _LOCAL.size + n + m
        bound = self._bounds[bisect.bisect_right(self._bounds, member.header_offset)]
        if offset + member.compressed > bound:
            raise self._error(f"{member.name} reaches past {bound}, where it must have ended")
        begin = offset - member.header_offset
        ahead = read[begin : begin + more]
        return offset, ahead if len(ahead) == more else b""

    def chunks(self, member: Member, scan: Scan | None = None) -> Iterator[bytes]:
        """Yield the file's bytes, and check at the end that they match the directory.

        With *scan*, record facts about the stream there.

        Raises:
            AssembleError: the stream is broken, or its length or CRC-32 differs.
        """
        left, crc, size = member.compressed, 0, 0
        offset, ahead = self._begin(member, min(left, _CHUNK))
        stream = zlib_ng.decompressobj(-15) if member.method == DEFLATED else None
        while left:
            if scan is not None and stream is not None and size >= len(scan.marks) * MARK_EVERY:
                scan.marks.append(Mark(size, offset, left, _copy(stream)))
            data = ahead or self._read(offset, min(_CHUNK, left), member.name)
            ahead = b""
            offset += len(data)
            left -= len(data)
            if scan is not None:
                scan.crc = zlib_ng.crc32(data, scan.crc)
            if stream is not None:
                try:
                    data = stream.decompress(data)
                except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls it a variable
                    raise self._error(f"{member.name}: {error}") from error
            crc = zlib_ng.crc32(data, crc)
            size += len(data)
            if size > member.size:
                raise self._error(f"{member.name}: longer than the {member.size} bytes it claims")
            if data:
                yield data
        if stream is not None and (not stream.eof or stream.unused_data):
            raise self._error(f"{member.name}: its stream does not end where the directory says")
        if size != member.size or crc != member.crc:
            raise self._error(
                f"{member.name}: {size} bytes with CRC {crc:08x}, "
                f"where the directory says {member.size} with {member.crc:08x}"
            )

    def read(self, member: Member, *, most: int | None = None) -> bytes:
        """Return the file's bytes, checked; if there are more than *most*, only that many, unchecked."""
        found = bytearray()
        for chunk in self.chunks(member):
            found += chunk
            if most is not None and len(found) >= most:
                return bytes(found[:most])
        return bytes(found)

    def read_from(self, mark: Mark, size: int) -> bytes:
        """Return *size* bytes of a file from *mark* on. The stream was checked when the mark was made."""
        stream, out, offset, left = _copy(mark.state), bytearray(), mark.offset, mark.left
        while left and len(out) < size:
            data = self._read(offset, min(_CHUNK, left), "a member")
            offset += len(data)
            left -= len(data)
            out += stream.decompress(data)
        return bytes(out[:size])

    def read_stored(self, member: Member, position: int, size: int) -> bytes:
        """Return up to *size* bytes of a stored member from *position* on."""
        size = min(size, member.size - position)
        return self._read(self.stream_offset(member) + position, size, member.name)

    def _read(self, offset: int, size: int, what: str) -> bytes:
        data = os.pread(self._fd, size, offset) if 0 <= offset <= self._size else b""
        while data and len(data) < size:  # pread returns at most 2 GiB, and less after a signal
            more = os.pread(self._fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        if len(data) != size:
            raise self._error(f"{what}: {size} bytes at {offset} are past its end, {self._size}")
        return data

    def _error(self, text: str) -> AssembleError:
        return AssembleError(f"{self._name} is not a valid zip: {text}")


def _copy(stream: zlib_ng._Decompress) -> zlib_ng._Decompress:
    copied: zlib_ng._Decompress = stream.copy()  # type: ignore[attr-defined]  # missing in its stub
    return copied
