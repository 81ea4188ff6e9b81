"""Tune glibc's malloc to keep freed memory."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_MALLOPT: Final = {-1: 256 * 2**20, -3: 32 * 2**20, -8: 1}
"""``malloc.h``: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD (bytes), M_ARENA_MAX."""


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to give each freed buffer back to the kernel, and threads to share one arena.

    Segments are made of buffers of some hundred KiB, taken and freed by several threads; faulting their pages in
    again each time took as long as inflating into them (measured: half the time of the system calls). For the
    command line; a program that calls :func:`build` decides for itself.
    """
    with contextlib.suppress(AttributeError, OSError):  # another libc has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOPT.items():
            mallopt(option, value)
