"""Foreign documents are read in the types that are asked for, or refused with a dotted path."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.util.documents import (
    Cap,
    DocumentError,
    Grammar,
    Record,
    is_inside,
    load_json,
    parse_json,
    parse_json_value,
    record_of,
)
from envbuilder.util.files import NotRegularError

_NAME = Grammar(pattern=re.compile(r"[a-z]+"), expected="lower-case letters")
_DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not JSON: Expecting value in line 1, column 1"),
        (b"[]", "expected an object, found an empty list"),
        (b"[1, 2]", "expected an object, found a list of 2"),
        (b"null", "expected an object, found null"),
        (b'{"a": 1', "is not JSON: Expecting ',' delimiter in line 1, column 8"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8: invalid start byte at byte 0"),
        (
            b'\xef\xbb\xbf{"a": 1}',
            "is not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig) in line 1, column 1",
        ),
        (b'{"a": 1, "a": 2}', "has the key 'a' more than once in one object"),
        (b'{"b": {"a\\u001b": 1, "a\\u001b": 2}}', "has the key 'a\\u001b' more than once in one object"),
        (b'{"a": NaN}', "has NaN, which is not JSON"),
        (b'{"a": -Infinity}', "has -Infinity, which is not JSON"),
        (b'{"a": 1e999}', "has the number '1e999', which is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "has an integer of 5000 digits"),
        (b'{"a": ' + b"[" * 100_000, "is nested more than 64 levels deep"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "is nested more than 64 levels deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is nested more than 64 levels deep"),
        (b'{"\\\\": ' + b'[{"\\"]": ' * 40 + b"1" + b"}]" * 40 + b"}", "is nested more than 64 levels deep"),
        (b'{"a": [' + b"[]," * 250_000 + b"0]}", "has more than 200,000 objects and lists"),
        (b'{"a": [' + b"1," * 1_250_000 + b"0]}", "has more than 1,000,000 values"),
        (b'{"a": "' + b"x" * 2**24 + b'"}', "is larger than 16.8 MB, the limit for this kind of document"),
        (b'{"a": "\x1b"}', "is not JSON: Invalid control character at in line 1, column 8"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:30]),
)
def test_refuses_what_is_no_document(text: bytes, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_json(text, where="a.json")
    assert str(caught.value) == f"a.json: {reason}"


def test_brackets_in_texts_are_not_nesting() -> None:
    value = {"a": "[" * 1000, "b\\": '\\"[' * 100, "c": [['"', "{" * 100]]}
    assert parse_json(json.dumps(value), where="x").value == value


def test_reads_what_is_as_deep_as_allowed() -> None:
    assert parse_json(b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}", where="x")


@pytest.mark.parametrize(
    ("get", "reason"),
    [
        (lambda r: r.text("none"), "packages[1].none: is missing; expected a line of text"),
        (lambda r: r.text("int"), "packages[1].int: expected a line of text, found 7"),
        (lambda r: r.text("empty"), "packages[1].empty: expected a line of text, found ''"),
        (
            lambda r: r.text("esc"),
            "packages[1].esc: expected a line of text without control characters, found 'a\\u001b[2J\\n\\u202e'",
        ),
        (lambda r: r.text("long"), "packages[1].long: expected at most 4096 characters, found '" + "x" * 60 + "'…"),
        (lambda r: r.text("esc", _NAME), "packages[1].esc: expected lower-case letters, found 'a\\u001b[2J\\n\\u202e'"),
        (lambda r: r.free_text("list"), "packages[1].list: expected a text, found a list of 3"),
        (lambda r: r.choice("int", "a", "b"), "packages[1].int: expected 'a' or 'b', found 7"),
        (lambda r: r.digest("long"), "packages[1].long: expected 64 hex digits, found '" + "x" * 60 + "'…"),
        (lambda r: r.digest("upper"), "packages[1].upper: expected 64 hex digits, found '" + "A" * 60 + "'…"),
        (lambda r: r.integer("true"), "packages[1].true: expected an integer from 0 to 2^63 - 1, found true"),
        (lambda r: r.integer("minus"), "packages[1].minus: expected an integer from 0 to 2^63 - 1, found -1"),
        (lambda r: r.integer("int", 0, 6), "packages[1].int: expected an integer from 0 to 6, found 7"),
        (lambda r: r.integer("half"), "packages[1].half: expected an integer from 0 to 2^63 - 1, found 0.5"),
        (
            lambda r: r.integer("huge"),
            "packages[1].huge: expected an integer from 0 to 2^63 - 1, found an integer of 266 bits",
        ),
        (lambda r: r.number("int", 8, 9), "packages[1].int: expected a number from 8 to 9, found 7"),
        (lambda r: r.number("vast", 0), "packages[1].vast: expected a number from 0 to 1e+300, found 1e+308"),
        (lambda r: r.number("esc"), "packages[1].esc: expected a number, found 'a\\u001b[2J\\n\\u202e'"),
        (lambda r: r.boolean("int"), "packages[1].int: expected true or false, found 7"),
        (lambda r: r.file_path("up"), "packages[1].up: expected a relative path without . and .., found 'a/../../b'"),
        (lambda r: r.record("list"), "packages[1].list: expected an object, found a list of 3"),
        (lambda r: r.records("list"), "packages[1].list[0]: expected an object, found 1"),
        (lambda r: r.records("list", most=2), "packages[1].list: expected at most 2 items, found 3"),
        (lambda r: r.records("int"), "packages[1].int: expected a list, found 7"),
        (lambda r: r.texts("list"), "packages[1].list[0]: expected a line of text, found 1"),
        (lambda r: r.text_map("map"), "packages[1].map.k: expected a line of text, found 1"),
        (lambda r: r.text_map("map", keys=Grammar(pattern=re.compile("x"), expected="x")),
         "packages[1].map: expected x as a key, found 'k'"),
        (lambda r: r.record_map("map"), "packages[1].map.k: expected an object, found 1"),
        (lambda r: r.only("int"), "packages[1].empty: is not known"),
    ],
)  # fmt: skip
def test_names_what_is_of_another_kind(get: Callable[[Record], object], reason: str) -> None:
    bad = {
        "empty": "",
        "int": 7,
        "esc": "a\x1b[2J\n\u202e",
        "long": "x" * 5000,
        "upper": "A" * 64,
        "true": True,
        "minus": -1,
        "half": 0.5,
        "vast": 1e308,
        "huge": 10**80,
        "up": "a/../../b",
        "list": [1, 2, 3],
        "map": {"k": 1},
        "null": None,
    }
    record = parse_json(json.dumps({"packages": [{}, bad]}), where="m.json").records("packages")[1]
    with pytest.raises(DocumentError) as caught:
        get(record)
    assert str(caught.value) == f"m.json: {reason}"


def test_returns_what_is_of_the_kind() -> None:
    record = parse_json(
        json.dumps(
            {
                "name": "ab",
                "digest": _DIGEST,
                "size": 0,
                "ratio": 2,
                "yes": True,
                "path": "a/b\udcff",
                "note": "two\nlines",
                "tags": ["a", "b"],
                "of": {"k": "v"},
                "deep": {"er": {"x": 1}},
                "nothing": None,
            }
        ),
        where="x",
    )
    assert record.text("name", _NAME) == "ab"
    assert record.choice("name", "ab", "cd") == "ab"
    assert record.digest("digest") == _DIGEST
    assert record.integer("size") == 0
    assert record.number("ratio") == 2.0
    assert record.boolean("yes") is True
    assert record.file_path("path") == "a/b\udcff"
    assert record.free_text("note") == "two\nlines"
    assert record.texts("tags") == ("a", "b")
    assert record.text_map("of") == {"k": "v"}
    assert record.record("deep").record("er").path == "deep.er"
    assert [*record.record_map("deep")] == ["er"]
    assert "name" in record
    assert "nothing" not in record
    record.only(*record.value)


def test_suggests_the_key_that_was_meant() -> None:
    with pytest.raises(DocumentError, match=r"x: pakages: is not known\n  hint: did you mean 'packages'\?"):
        parse_json('{"pakages": 1}', where="x").only("packages", "files")


def test_a_key_in_an_error_is_printable() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_json(json.dumps({"a\x1b]0;x\x07": 1}), where="x").only("b")
    assert str(caught.value) == "x: a\\u001b]0;x\\u0007: is not known"


@pytest.mark.parametrize("path", ["a", "a/b", ".hidden", "a..b", "...", "a\\b", "a\nb"])
def test_knows_a_path_that_stays_inside(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "..", ".", "../a", "a/..", "a/./b", "a//b", "a/", "a\0b", "//a"]
)
def test_knows_a_path_that_does_not(path: str) -> None:
    assert not is_inside(path)


def test_reads_a_file_under_its_cap(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert load_json(path).integer("a") == 1
    with pytest.raises(DocumentError, match=f"{path}: is larger than 4 B, the limit"):
        load_json(path, cap=Cap(size=4))


def test_reads_nothing_but_files(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(NotRegularError, match="is a FIFO, not a file"):
        load_json(fifo)
    with pytest.raises(NotRegularError, match="is a folder, not a file"):
        load_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_json(tmp_path / "nothing")


def test_gives_access_to_what_another_parser_read() -> None:
    assert record_of({"a": {"b": 1}}, where="x").record("a").integer("b") == 1
    with pytest.raises(DocumentError, match="x: expected a table, found 3"):
        record_of(3, where="x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_JSON)
def test_reads_what_json_reads(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json_value(text, where="x") == json.loads(text)


@given(st.binary() | st.text(alphabet='[]{}"\\,:01ea \x00').map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = parse_json_value(data, where="x")
    except DocumentError:
        return
    assert value == json.loads(data)
