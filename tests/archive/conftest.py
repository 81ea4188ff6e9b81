from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from envbuilder.archive.manifest import (
    Manifest,
    ManifestFile,
    ManifestInterpreter,
)
from envbuilder.archive.zipdir import ZipDirectory

DIGEST = "ab" * 32


def example() -> Manifest:
    return Manifest(
        recipe="cpu",
        recipe_digest=DIGEST,
        lock_digest=DIGEST,
        release="26.06",
        python="3.12.1",
        torch="2.13.0+cpu",
        cuda="cpu",
        interpreter=ManifestInterpreter(version="3.12.1", origin="host", digest=DIGEST, locked_digest=DIGEST),
        demands=(),
        packages=(),
        glibc="2.28",
        glibcxx=None,
        pack={},
        tools={},
        unpacked_size=7,
        files=(
            ManifestFile(path="a", mode=0o644, size=7, sha256=DIGEST),
            ManifestFile(path="b", mode=0o777, size=0, sha256=DIGEST, link="a"),
        ),
    )


class Open(Protocol):
    def __call__(self, data: bytes) -> ZipDirectory: ...


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Return a function that reads a zip's directory."""

    def open_(data: bytes) -> ZipDirectory:
        path = tmp_path / "a.whl"
        path.write_bytes(data)
        file = path.open("rb")
        try:
            zip_ = ZipDirectory(file, "a.whl")
        except BaseException:
            file.close()
            raise
        files.append(file)
        return zip_

    files: list[Any] = []
    yield open_
    for file in files:
        file.close()
