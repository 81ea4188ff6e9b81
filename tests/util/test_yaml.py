"""YAML that a recipe never is ends in an error with its place, whatever the parser makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.util.yaml import plain, read_document


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'a: "\\UFFFFFFFF"', ": invalid YAML: Python int too large to convert to C int"),
        (b"a: !!python/name:os.system x", ":1: tags (!) are not allowed in recipes"),
        (b"a: &x 1\nb: *x", ":1: anchors and aliases (&, *) are not allowed in recipes; repeat the value"),
        (b"a:\n\t- b", ":2: found a tab; YAML is indented with spaces"),
        (b"a: " + b"[" * 20, ":1: nested more than 16 levels deep, the limit for recipes"),
        (b"a: 1\na: 2", ":2: the key `a` is duplicated (first at line 1)"),
        (b"\xff", ":1: is not UTF-8 text"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text)
    with pytest.raises(RecipeError) as caught:
        read_document(path)
    assert caught.value.message == f"{path}{said}"


def test_values_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\nb:\n  - x\n  - {c: 2026-10-01}\n")
    found = read_document(path)
    assert [one.line for one in found.data["b"].data] == [3, 4]
    assert plain(found)["b"][1]["c"].year == 2026
