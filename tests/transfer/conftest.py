"""A small environment for stores that are somewhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter
from tests.helpers.small import Small, make_small


@pytest.fixture
def small(tmp_path: Path, python311: Interpreter) -> Small:
    """A small environment that is really built."""
    return make_small(tmp_path, python311)
