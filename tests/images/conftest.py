from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.store.session import Session
from tests.helpers.small import Small, copy_small


@pytest.fixture
def small(tmp_path: Path, built_small: Small) -> Small:
    return copy_small(built_small, tmp_path)


@pytest.fixture
def session(small: Small) -> Session:
    return Session(settings=small.settings, store=small.store())
