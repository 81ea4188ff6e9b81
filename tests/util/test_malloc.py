from __future__ import annotations

import subprocess
import sys

_CODE = """
import ctypes
from envbuilder.util import malloc

def faults():
    return next(int(line.split()[9]) for line in open("/proc/self/stat"))

malloc.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = (
    ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t])

def use():
    buffer = libc.malloc(8 * 2**20)
    libc.memset(buffer, 1, 8 * 2**20)
    libc.free(buffer)

use()
before = faults()
for _ in range(20):
    use()
print(faults() - before)
"""


def test_freed_buffers_are_not_faulted_in_again() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2048, "20 buffers of 2048 pages each"
