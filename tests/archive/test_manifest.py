from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.manifest import (
    manifest_beside,
    parse_manifest,
    read_manifest,
)
from envbuilder.errors import IntegrityError
from tests.archive.conftest import DIGEST, example


def test_each_file_has_a_line() -> None:
    lines = example().text().splitlines()
    assert lines[-4:] == [
        f'  {{"mode": 420, "path": "a", "sha256": "{DIGEST}", "size": 7}},',
        f'  {{"link": "a", "mode": 511, "path": "b", "sha256": "{DIGEST}", "size": 0}}',
        " ]",
        "}",
    ]


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(example().text()), **values})


FILE_ROW = {"path": "a", "mode": 1, "size": 1, "sha256": DIGEST}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m: is not JSON: Expecting value in line 1, column 1"),
        (b"\xff", "m: is not UTF-8: invalid start byte at byte 0"),
        ("[" * 100_000, "m: is nested more than 64 levels deep"),
        ("[]", "m: expected an object, found an empty list"),
        ("{}", "m: format: is missing; expected an integer from 1 to 2^63 - 1"),
        (changed(files=[5]), "m: files[0]: expected an object, found 5"),
        (changed(files={}), "m: files: expected a list, found an empty object"),
        (changed(packages=None), "m: packages: expected a list, found null"),
        (changed(glibc=2.28), "m: glibc: expected a version as in 2.28, found 2.28"),
        (
            changed(recipe=None),
            "m: recipe: expected a recipe's name (letters, digits, - and _), found null",
        ),
        (
            changed(files=[{**FILE_ROW, "path": 3}]),
            "m: files[0].path: expected a relative path without . and .., found 3",
        ),
        (changed(files=[FILE_ROW, FILE_ROW]), "m: files[1].path: is listed twice: 'a'"),
        (changed(files=[{"path": "a"}]), "m: files[0].mode: is missing; expected an integer from 0 to 4095"),
        (changed(format="1"), "m: format: expected an integer from 1 to 2^63 - 1, found '1'"),
        (changed(more=1), "m: more: is not known"),
    ],
)
def test_not_a_manifest(text: str | bytes, message: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(text, where="m")
    assert caught.value.message == message
    assert caught.value.exit_code == 5


def test_a_newer_format() -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(changed(format=2), where="m")
    assert caught.value.message == "m: manifest format 2, this envbuilder reads up to 1"
    assert caught.value.hint == "install a newer envbuilder"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(IntegrityError) as caught:
        read_manifest(path)
    assert caught.value.message == f"the manifest {path} cannot be read: No such file or directory"
    path.write_text(example().text())
    assert read_manifest(path) == example()
    path.write_text("{")
    with pytest.raises(IntegrityError, match=rf"^{path}: is not JSON: "):
        read_manifest(path)


@pytest.mark.parametrize("name", ["cpu-0123.tar.gz", "cpu-0123.tar"])
def test_where_it_lies(tmp_path: Path, name: str) -> None:
    assert manifest_beside(tmp_path / name) == tmp_path / "cpu-0123.json"
