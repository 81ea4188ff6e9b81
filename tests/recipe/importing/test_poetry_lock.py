from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from tests.helpers.imports_more import POETRY_2_LOCK
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["poetry_lock"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_a_lock_of_a_project(tmp_path: Path) -> None:
    """What [project] asks for is required, whatever Poetry's table has besides."""
    values, fates = becomes(tmp_path, POETRY_2_LOCK)
    assert values["dependencies"][0] == "requests==2.32.3"
    assert (values["torch"], values["cuda"], values["build-from-source"]) == ("2.7.1", "cu126", ["old"])
    assert fates[:6] == [
        "carried over: 2: requests 2.32.3",
        'changed: 9: torch 2.7.1+cu126: torch: "2.7.1", cuda: cu126',
        "changed: 21: old 1.0: build-from-source: [old]; constraints: old==1.0",
        "left out: 28: uvloop 0.21.0: of an extra: --group NAME takes one",
        "left out: 36: pytest 8.0.0: of the group dev: --group dev takes it",
        'changed: 48: >=3.10,<4 || >=3.12,<4: python: "3.12"; the lock names the whole version',
    ]


def test_groups_and_extras_of_a_lock(tmp_path: Path) -> None:
    values, _ = becomes(tmp_path, POETRY_2_LOCK, ["fast", "dev"])
    assert {"uvloop==0.21.0", "pytest==8.0.0"} <= {*values["dependencies"]}
    alone = {"poetry.lock": POETRY_2_LOCK["poetry.lock"]}
    assert "pytest==8.0.0" in becomes(tmp_path / "alone", alone, ["test"])[0]["dependencies"]
    with pytest.raises(RecipeError, match="has no group or extra 'none'"):
        becomes(tmp_path / "none", alone, ["none"])
