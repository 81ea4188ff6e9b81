"""TOML is refused before it costs memory or time, and means what tomllib says otherwise."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.util.strict_json import Cap, DocumentError
from envbuilder.util.strict_toml import parse_toml_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_dots_in_texts_and_comments_are_no_keys() -> None:
    dots = "." * 1000
    text = "\n".join(
        [
            f"# {dots}",
            f'a = "{dots}"',
            f"b = '{dots}'  # \"{dots}",
            f'c = """\n\\"""{dots}""""',
            f"d = '''{dots}'''''",
            f'e = "\\"{dots}"',
            f'"{dots}".{"x." * 20}y = 1.5',
        ]
    )
    assert parse_toml_value(text.encode(), where="x") == tomllib.loads(text)


def test_a_cap_of_a_reader_holds() -> None:
    small = Cap(size=1000, containers=3, values=5)
    assert parse_toml_value(b"[a]\n[b]\n[c]", where="x", cap=small) == {"a": {}, "b": {}, "c": {}}
    with pytest.raises(DocumentError, match="more than 3 tables"):
        parse_toml_value(b"[a]\n[b]\n[c]\n[d]", where="x", cap=small)
    with pytest.raises(DocumentError, match="more than 5 values"):
        parse_toml_value(b"a = [1,2,3,4,5,6]", where="x", cap=small)


@given(st.text(alphabet="a.\"'\\\n#= [],{}", max_size=60))
def test_nothing_else_than_tomllib_reads(text: str) -> None:
    try:
        meant = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        meant = None
    try:
        found = parse_toml_value(text.encode(), where="x")
    except DocumentError:
        found = None
    assert found == meant
