from __future__ import annotations

from envbuilder.archive.manifest import ManifestFile


def file(path: str, size: int, sha256: str = "1" * 64) -> ManifestFile:
    return ManifestFile(path=path, mode=0o644, size=size, sha256=sha256)
