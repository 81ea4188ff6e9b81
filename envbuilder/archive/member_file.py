"""A file in a zip, readable without unpacking."""

from __future__ import annotations

import bisect
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from envbuilder.archive.member import STORED, Member, Scan
from envbuilder.archive.zipdir import ZipDirectory

if TYPE_CHECKING:
    from typing_extensions import Buffer

_WINDOWS: Final = 3
"""Inflated ranges between marks that are cached: the beginning, the section names, and the read position."""


class MemberFile(io.RawIOBase):
    """A member as a seekable file: read completely once by :meth:`scan`, then anywhere.

    Libraries of a GiB (with section headers at the end) are inspected this way without being unpacked.
    """

    def __init__(self, wheel: ZipDirectory, member: Member) -> None:
        self._wheel = wheel
        self._member = member
        self._scan = Scan()
        self._position = 0
        self._windows: dict[int, bytes] = {}

    def scan(self) -> Iterator[bytes]:
        """Yield the whole content, checked."""
        return self._wheel.chunks(self._member, self._scan)

    @property
    def stream_crc(self) -> int:
        """CRC-32 of the stream's own bytes, after :meth:`scan`."""
        return self._scan.crc

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek, like a file."""
        self._position = offset + (0, self._position, self._member.size)[whence]
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Read into *buffer*, like a file."""
        view = memoryview(buffer)
        if self._position >= self._member.size or not len(view):
            return 0
        if self._member.method == STORED:
            data = self._wheel.read_stored(self._member, self._position, len(view))
        else:
            number = self._window_at(self._position)
            begin = self._position - self._scan.marks[number].position
            data = self._window(number)[begin : begin + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _window_at(self, position: int) -> int:
        if not self._scan.marks:
            for _ in self.scan():
                pass
        return bisect.bisect_right(self._scan.marks, position, key=lambda mark: mark.position) - 1

    def _window(self, number: int) -> bytes:
        if number not in self._windows:
            if len(self._windows) == _WINDOWS:
                del self._windows[next(iter(self._windows))]
            ends = [mark.position for mark in self._scan.marks[number + 1 : number + 2]] or [
                self._member.size
            ]
            mark = self._scan.marks[number]
            self._windows[number] = self._wheel.read_from(mark, ends[0] - mark.position)
        return self._windows[number]
