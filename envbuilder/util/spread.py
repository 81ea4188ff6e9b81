"""Spreads folders over a disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
_TOPDIR: Final = 0x00020000
"""``FS_IOC_GETFLAGS``, ``FS_IOC_SETFLAGS`` and ``FS_TOPDIR_FL`` of ``linux/fs.h``, on 64-bit machines."""


def spread_folders(parent: Path) -> None:
    """Let the folders that are created in *parent* start in different parts of the disk, as ``chattr +T`` does.

    ext4 without a journal (the disk of many virtual machines that run CI) does not reuse the inode of a file that was
    deleted within the last five minutes, and searches past each of them: where an environment has just been removed,
    it takes 0.7 ms instead of 0.02 ms to create a file. Other file systems have no such flag, and remain as they are.
    """
    with contextlib.suppress(OSError):
        folder = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            (flags,) = struct.unpack("l", fcntl.ioctl(folder, _GET_FLAGS, bytes(struct.calcsize("l"))))
            if not flags & _TOPDIR:
                fcntl.ioctl(folder, _SET_FLAGS, struct.pack("l", flags | _TOPDIR))
        finally:
            os.close(folder)
