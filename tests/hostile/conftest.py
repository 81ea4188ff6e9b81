"""A warm command line for each worker, and a room for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hostile import Room, Zygote, zygote


@pytest.fixture(scope="session")
def warm() -> Iterator[Zygote]:
    """The process that forks a command line for each run."""
    with zygote() as process:
        yield process


@pytest.fixture
def room(tmp_path: Path, warm: Zygote) -> Room:
    """A folder to run the command line in."""
    return Room(folder=tmp_path, zygote=warm)
