"""Source trees that wheels are built from: their files, their digest, a clean copy."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuilder.util.files import file_sha256

_LEFT: Final = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        ".tox",
        ".nox",
        ".eggs",
        "__pycache__",
        "build",
        "dist",
        "node_modules",
    }
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".coverage"}
)
"""Files of version control, builds and tests, which no build reads."""


def source_files(folder: Path) -> Iterator[Path]:
    """Yield the files and links of *folder*, by relative path, sorted."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_left(name))
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in linked]
        for name in sorted([*files, *linked]):
            if not _is_left(name):
                yield (Path(root) / name).relative_to(folder)


def tree_digest(folder: Path) -> str:
    """Return the sha256 of the names, contents and executable bits of the files of *folder*."""
    digest = hashlib.sha256()
    for path in sorted(source_files(folder), key=os.fsencode):
        place = folder / path
        if place.is_symlink():
            kind, content = "link", hashlib.sha256(os.fsencode(os.readlink(place))).hexdigest()
        else:
            kind, content = ("program" if os.access(place, os.X_OK) else "file"), file_sha256(place)
        digest.update(os.fsencode(path) + b"\0" + f"{kind} {content}\n".encode())
    return digest.hexdigest()


def copy_sources(folder: Path, target: Path) -> None:
    """Copy the files of *folder* into the new folder *target*."""
    target.mkdir(parents=True)
    for path in source_files(folder):
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / path, place, follow_symlinks=False)


def _is_left(name: str) -> bool:
    return name in _LEFT or name.endswith(".egg-info")
