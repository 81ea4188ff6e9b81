"""Edit protobuf text format in place: everything else keeps its bytes, comments and order.

protobuf's own ``text_format`` reads and prints messages, and forgets comments on the way. Here the fields of a text
that protobuf has already accepted are only *located*. The grammar is the one of
https://protobuf.dev/reference/protobuf/textformat-spec/, without extensions and ``Any``, which a ModelConfig does
not use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf import text_encoding

_TOKEN = re.compile(
    r"""(?P<skip> (?: \s | \#[^\n]* )+ )
      | (?P<string> "(?:[^"\n\\]|\\.)*" | '(?:[^'\n\\]|\\.)*' )
      | (?P<word> [0-9A-Za-z_.+-]+ )
      | (?P<mark> [{}<>\[\]:,;] )""",
    re.VERBOSE,
)
_MOST = 100
"""Entries of one key: each is cut out of the whole text, so that a hundred thousand of them would take hours."""
_CLOSES = {"{": "}", "<": ">"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value and its position: ``text[start:end]``."""

    start: int
    end: int
    fields: tuple[Field, ...] | None = None
    """The fields, if it is a message."""
    items: tuple[Value, ...] | None = None
    """The items, if it is a list in brackets."""
    separators: tuple[int, ...] = ()
    """The positions of the commas of a list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One ``name: value``, with the comma or semicolon after it."""

    name: str
    start: int
    end: int
    value: Value


class TextFormatError(ValueError):
    """The text is not in protobuf text format."""


def locate(text: str) -> tuple[Field, ...]:
    """Return the top-level fields of *text*, which protobuf has accepted.

    Raises:
        TextFormatError: it is not text format after all.
    """
    return tuple(_Reader(text).fields(end=None))


class _Reader:
    """A cursor over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def fields(self, end: str | None) -> Iterator[Field]:
        while (token := self._peek()) is not None and token.group() != end:
            name = self._next("word")
            if self._sees(":"):
                self._next("mark")
            value = self._value()
            stop = value.end
            if self._sees(",", ";"):
                stop = self._next("mark").end()
            yield Field(name=name.group(), start=name.start(), end=stop, value=value)

    def _value(self) -> Value:
        if self._sees("{", "<"):
            opening = self._next("mark")
            fields = tuple(self.fields(end=_CLOSES[opening.group()]))
            return Value(start=opening.start(), end=self._next("mark").end(), fields=fields)
        if self._sees("["):
            return self._list()
        first = self._next("word", "string")
        last = first
        if first.group() == "-":  # a sign may stand apart from its number
            last = self._next("word")
        while last.lastgroup == "string" and (token := self._peek()) and token.lastgroup == "string":
            last = self._next("string")  # strings that follow each other are one
        return Value(start=first.start(), end=last.end())

    def _list(self) -> Value:
        opening = self._next("mark")
        items: list[Value] = []
        separators: list[int] = []
        while not self._sees("]"):
            items.append(self._value())
            if self._sees(","):
                separators.append(self._next("mark").start())
        closing = self._next("mark")
        return Value(
            start=opening.start(), end=closing.end(), items=tuple(items), separators=tuple(separators)
        )

    def _peek(self) -> re.Match[str] | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _sees(self, *marks: str) -> bool:
        token = self._peek()
        return token is not None and token.lastgroup == "mark" and token.group() in marks

    def _next(self, *kinds: str) -> re.Match[str]:
        token = self._peek()
        if token is None or token.lastgroup not in kinds:
            raise TextFormatError("ends too early" if token is None else f"unexpected {token.group()!r}")
        self._at += 1
        return token


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise TextFormatError(f"unexpected {text[at]!r}")
        if token.lastgroup != "skip":
            yield token
        at = token.end()


def quote(value: str) -> str:
    """Return *value* as a string of the text format."""
    return f'"{text_encoding.CEscape(value.encode(), as_utf8=True)}"'


def unquote(literal: str) -> str:
    """Return the value of a string of the text format, or of several in a row."""
    parts = [token.group() for token in _tokens(literal)]
    return b"".join(text_encoding.CUnescape(part[1:-1]) for part in parts).decode()


# -- edits: each takes a text and returns the changed one --------------------------------------------------------


def set_string(text: str, name: str, value: str, *, after: Sequence[str] = ()) -> str:
    """Set the top-level string field *name*, once; a new one goes below the last of the fields *after*."""
    for field in locate(text):
        if field.name == name:
            if unquote(text[field.value.start : field.value.end]) == value:
                return text
            return text[: field.value.start] + quote(value) + text[field.value.end :]
    return _insert(text, f"{name}: {quote(value)}", after=after)


def remove(text: str, name: str) -> str:
    """Remove every top-level field *name*; comments stay."""
    for field in reversed(locate(text)):
        if field.name == name:
            text = _cut(text, field.start, field.end)
    return text


def set_parameter(text: str, key: str, value: str) -> str:
    """Set ``parameters[key].string_value``, once."""
    while len(entries := _parameters(text, key)) > 1:
        text = _cut_entry(text, entries[-1])
    if not entries:
        lines = ["parameters {", f"  key: {quote(key)}", f"  value {{ string_value: {quote(value)} }}", "}"]
        return _insert(text, _newline(text).join(lines))
    fields = {field.name: field for field in entries[0].value.fields or ()}
    if "value" not in fields:
        place = fields["key"].end
        return f"{text[:place]} value {{ string_value: {quote(value)} }}{text[place:]}"
    old = fields["value"].value
    inner = old.fields or ()
    if [field.name for field in inner] == ["string_value"]:
        old = inner[0].value
        if unquote(text[old.start : old.end]) == value:
            return text
        return text[: old.start] + quote(value) + text[old.end :]
    return f"{text[: old.start]}{{ string_value: {quote(value)} }}{text[old.end :]}"


def remove_parameter(text: str, key: str) -> str:
    """Remove ``parameters[key]``, however often it is there."""
    while entries := _parameters(text, key):
        text = _cut_entry(text, entries[-1])
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One entry of ``parameters``: a field of its own, or item *index* of a list."""

    field: Field
    value: Value
    index: int | None


def _parameters(text: str, key: str) -> list[_Entry]:
    entries = []
    for field in locate(text):
        if field.name != "parameters":
            continue
        if field.value.items is None:
            entries.append(_Entry(field=field, value=field.value, index=None))
        else:
            for index, item in enumerate(field.value.items):
                entries.append(_Entry(field=field, value=item, index=index))
    found = [entry for entry in entries if _key(text, entry.value) == key]
    if len(found) > _MOST:
        raise TextFormatError(f"parameters has {key} {len(found)} times")
    return found


def _key(text: str, entry: Value) -> str:
    keys = [field.value for field in entry.fields or () if field.name == "key"]
    return unquote(text[keys[0].start : keys[0].end]) if keys else ""


def _cut_entry(text: str, entry: _Entry) -> str:
    if entry.index is None or len(entry.field.value.items or ()) == 1:
        return _cut(text, entry.field.start, entry.field.end)
    commas = entry.field.value.separators
    comma = commas[min(entry.index, len(commas) - 1)]  # the one after it, or before the last
    if comma > entry.value.start:
        text = text[:comma] + text[comma + 1 :]
        return _cut(text, entry.value.start, entry.value.end)
    text = _cut(text, entry.value.start, entry.value.end)
    return text[:comma] + text[comma + 1 :]


def _cut(text: str, start: int, end: int) -> str:
    """Remove a range, and its line where nothing else stood on it."""
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end + 1
    before, behind = text[line_start:start], text[end:line_end]
    if not before.strip() and not behind.strip():
        return text[:line_start] + text[line_end:]
    if not behind.strip() and behind.endswith("\n"):
        return text[:line_start] + before.rstrip() + text[end:]
    return text[:start] + text[end:].lstrip(" \t")


def _insert(text: str, lines: str, *, after: Sequence[str] = ()) -> str:
    newline = _newline(text)
    anchors = [field for field in locate(text) if field.name in after]
    if not anchors:
        gap = "" if not text or text.endswith("\n") else newline
        return f"{text}{gap}{lines}{newline}"
    place = anchors[-1].end
    line_end = text.find("\n", place)
    rest = (text[place:] if line_end < 0 else text[place:line_end]).strip()
    if rest and not rest.startswith("#"):
        return f"{text[:place]} {lines} {text[place:].lstrip(' ')}"
    if line_end < 0:
        return f"{text}{newline}{lines}{newline}"
    return f"{text[: line_end + 1]}{lines}{newline}{text[line_end + 1 :]}"


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
