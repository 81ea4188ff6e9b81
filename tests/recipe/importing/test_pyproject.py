from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.detect import read_import
from tests.recipe.importing.conftest import READERS, check_example


@pytest.mark.parametrize("name", READERS["pyproject"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_groups_of_a_project(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[project]\nname = "x"\ndependencies = ["a"]\n[project.optional-dependencies]\nfast = ["b"]\nslow = ["c"]\n'
        '[dependency-groups]\nserve = ["d", {include-group = "more"}]\nmore = ["e"]\n'
    )
    found = read_import(path, ["fast", "serve"])
    assert sorted(found.wanted.names()) == ["a", "b", "d", "e"]
    assert [one.text for one in found.wanted.remarks] == ["slow (extra)"]
    with pytest.raises(RecipeError, match="has no group or extra 'none'"):
        read_import(path, ["none"])
