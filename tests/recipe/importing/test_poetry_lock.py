from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipe.importing.conftest import READERS, check_example


@pytest.mark.parametrize("name", READERS["poetry_lock"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)
