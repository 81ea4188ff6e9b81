"""A small environment for stores that are somewhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small import Small, copy_small


@pytest.fixture
def small(tmp_path: Path, built_small: Small) -> Small:
    """A small environment that is really built."""
    return copy_small(built_small, tmp_path)
