from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import read_json, read_toml, read_yaml, tables
from envbuilder.util.documents import DocumentError


def test_a_text_with_the_line_that_says_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('# torch is old\nname = "x"\ntorch = "1.0"\nother = "torch"\n')
    document = read_toml(path)
    assert document.root.text("name") == "x"
    assert document.said("torch").place == f"{path}:3", "the line that begins with it"
    assert document.said("old").place == f"{path}:1"
    assert document.said("torch 1.0", "other", "torch").place == f"{path}:4"
    assert document.said("gone").place == str(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("[")
    with pytest.raises(RecipeError, match=str(path)):
        read_toml(path)
    with pytest.raises(DocumentError):
        read_json(path)
    with pytest.raises(RecipeError, match=str(path)):
        read_yaml(path)


def test_one_table_or_several() -> None:
    assert tables({"a": 1}) == [{"a": 1}]
    assert tables([{"a": 1}, 2]) == [{"a": 1}]
    assert tables("a") == []
