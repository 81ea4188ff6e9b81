from __future__ import annotations

import tarfile
from pathlib import Path

from tests.helpers.environments import (
    Tree,
    environment,
    failures,
    pack,
    verdicts,
)
from tests.provenance.conftest import archive, authority, key

__all__ = ["archive", "authority", "key"]


def with_python(minor: str, tree: Tree | None = None) -> Tree:
    """The environment with another Python."""
    return {path.replace("3.11", minor): data for path, data in (tree or environment()).items()}


def found(tree: Tree, tmp_path: Path, release: str = "pytriton-0.7.0") -> dict[str, tuple[str, str | None]]:
    """What fails in the archive of *tree*, whose manifest is true."""
    return failures(verdicts(pack(tree, tmp_path, listed=tree), tmp_path, release=release))


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info
