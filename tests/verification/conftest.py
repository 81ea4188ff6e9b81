"""An environment that no build of ours describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.foreign import repacked


@pytest.fixture(scope="session")
def plain_archive(once: Callable[[str, Callable[[Path], None]], Path], numpy_archive: Path) -> Path:
    """CPython with NumPy and nothing that says who packed it, as a user's own archive is."""

    def fill(folder: Path) -> None:
        repacked(numpy_archive, folder / "own.tar", gone=["share/envbuilder(/.*)?"])

    return once("plain", fill) / "own.tar"
