from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.util.printable import is_plain, json_text, printable, printable_line, shown, valid_xml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain", "plain"),
        ("two\nlines\t.", "two\nlines\t."),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\u202eb\x7f", "a\\u202eb\\u007f"),
        ("\ud800", "\\ud800"),
    ],
)
def test_controls_are_escaped(text: str, said: str) -> None:
    assert printable(text) == said


def test_a_line_has_no_newline() -> None:
    assert printable_line("a\nb\tc\rd") == "a\\nb\\tc\\rd"
    assert not is_plain("a\n")
    assert is_plain("a b")


@given(text=st.text())
def test_any_text_becomes_plain_once(text: str) -> None:
    line = printable_line(text)
    assert is_plain(line)
    assert printable_line(line) == line


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a\nb", "'a\\nb'"),
        ("x" * 80, f"'{'x' * 60}'…"),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1 << 200, "an integer of 201 bits"),
        ({}, "an empty object"),
        ({"a": 1}, "an object"),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        (1.5, "1.5"),
    ],
)
def test_a_value_in_an_error(value: object, said: str) -> None:
    assert shown(value) == said


def test_json_and_xml_hold_no_control() -> None:
    value = {"b": "\x1b\x7f", "a": "é"}
    assert json.loads(json_text(value)) == value
    assert json_text(value).isascii()
    assert "\x7f" not in json_text(value)
    assert valid_xml("a\x00\ufffeb") == "a\\u0000\\ufffeb"
