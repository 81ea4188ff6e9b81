"""Identify the code of this program: results of one version are not valid for another."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuilder.util.resources import runtime_file

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_SKIPPED: Final = "__pycache__"


@functools.cache
def code_digest() -> str:
    """Return a sha256 of this program: its files and the runtime's, the Python that runs it, what is installed there.

    Any file may be part of a check: after any change, checks are repeated. Files are identified by path, size and
    time, which takes a hundredth of the time of reading them; the digest is used on one machine only.
    """
    digest = hashlib.sha256(sys.version.encode())
    for fact in (*_files(_PACKAGE), *_files(runtime_file().parent), *_installed()):
        digest.update(fact.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != _SKIPPED)
        for name in sorted(files):
            status = os.lstat(os.path.join(root, name))  # targets of links are listed themselves
            yield f"{root}/{name} {status.st_size} {status.st_mtime_ns}"


def _installed() -> Iterator[str]:
    """Yield the distributions of this Python, with their versions."""
    for place in sys.path:
        if os.path.isdir(place):
            yield from sorted(
                name for name in os.listdir(place) if name.endswith((".dist-info", ".egg-info"))
            )
