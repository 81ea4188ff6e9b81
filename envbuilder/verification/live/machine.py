"""Identify this machine as far as it affects how an environment runs: a change invalidates recorded results."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from envbuilder.verification.live.launch import host_compilers

_FILES: Final = ("/etc/os-release", "/etc/ld.so.cache", "/proc/driver/nvidia/version")
_STAMPS: Final = ("/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed")
_CPU: Final = ("vendor_id", "model name", "flags", "Features", "CPU implementer", "CPU part")
"""Fields of the first processor in ``/proc/cpuinfo``, on x86 and on Arm."""
_VARIABLES: Final = ("CUDA_", "NVIDIA_")


def machine_digest() -> str:
    """Return a sha256 of processors, kernel, system, its packages, compilers and GPUs, and of the user."""
    digest = hashlib.sha256()
    for fact in _facts():
        digest.update(fact.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def _facts() -> Iterator[str]:
    system = platform.uname()
    yield from (system.system, system.release, system.version, system.machine)
    yield f"{os.geteuid()} {len(os.sched_getaffinity(0))}"
    yield str(os.confstr("CS_GNU_LIBC_VERSION")) if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
        yield from (line for line in first.splitlines() if line.partition(":")[0].strip() in _CPU)
    for name in _FILES:
        with suppress(OSError):
            yield f"{name} {hashlib.sha256(Path(name).read_bytes()).hexdigest()}"
    for name in (*_STAMPS, *host_compilers()):
        with suppress(OSError):
            yield stamp(Path(name))
    yield from sorted(path.name for path in Path("/dev").glob("nvidia*"))
    yield from sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_VARIABLES))


def stamp(path: Path) -> str:
    """Return a fingerprint that changes if *path* is rewritten: its name, size, time and inode.

    Raises:
        OSError: the file does not exist.
    """
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
