from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.authority import write_certificate, write_key
from tests.helpers.environments import environment, pack


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tree = environment()
    return pack(tree, tmp_path, listed=tree)


@pytest.fixture
def key(tmp_path: Path) -> Any:
    return write_key(tmp_path, "key")


@pytest.fixture
def authority(tmp_path: Path) -> Any:
    key = write_key(tmp_path, "authority")
    write_certificate(tmp_path / "authority.crt", key, authority=True)
    return key
