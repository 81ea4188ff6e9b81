from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import (
    inner,
    read_json,
    read_toml,
    read_yaml,
    records,
    shown_value,
    texts,
)
from envbuilder.util.documents import DocumentError, Record


def test_a_text_with_the_line_that_says_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('# torch is old\nname = "x"\ntorch = "1.0"\nother = "torch"\n')
    document = read_toml(path)
    assert document.root.text("name") == "x"
    assert document.locate("torch").place == f"{path}:3", "the line that begins with it"
    assert document.locate("old").place == f"{path}:1"
    assert document.locate("torch 1.0", "other", "torch").place == f"{path}:4"
    assert document.locate("gone").place == str(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("[")
    with pytest.raises(RecipeError, match=str(path)):
        read_toml(path)
    with pytest.raises(DocumentError):
        read_json(path)
    with pytest.raises(RecipeError, match=str(path)):
        read_yaml(path)


def test_keys_and_strings_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        'name = "own-x"\n"e6" = "own"\n[tool.poetry.group.test.dependencies]\na.b = 1\n[c]\nx = ["own-x"]\n'
    )
    document = read_toml(path)
    assert document.key("it", "e6").place == f"{path}:2"
    assert document.key("it", "test").place == f"{path}:3"
    assert document.key("it", "a").place == f"{path}:4"
    assert document.key("it", "c").place == f"{path}:5"
    assert document.key("it", "gone").place == str(path)
    assert document.quoted("own").place == f"{path}:2"
    assert document.locate("x", "own-x", after=1).place == f"{path}:6"
    assert document.locate("x", "own-x", after=9).place == f"{path}:6"


def test_a_version_is_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("python: 3.10\nwhole: 3\ntrue: true\n")
    root = read_yaml(path).root
    assert [shown_value(root, key) for key in ("python", "whole", "true")] == ["3.10", "3", "true"]


def test_one_or_several() -> None:
    record = Record({"a": "x", "b": ["y"], "c": {"d": 1}, "e": [{"d": 2}], "f": 3, "g": [[]]}, "here")
    assert [texts(record, key) for key in ("a", "b", "gone")] == [("x",), ("y",), ()]
    assert [[one.value for one in records(record, key)] for key in ("c", "e", "gone")] == [
        [{"d": 1}],
        [{"d": 2}],
        [],
    ]
    assert inner(record, "gone", "c") is None
    for key in ("f", "g"):
        with pytest.raises(DocumentError, match=rf"^here: {key}"):
            texts(record, key)
        with pytest.raises(DocumentError, match=rf"^here: {key}"):
            records(record, key)
        with pytest.raises(DocumentError, match=rf"^here: {key}"):
            inner(record, key)
