"""Imported files as documents: TOML, JSON and YAML with the same typed access, and the positions of texts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirements import LARGEST, read_text
from envbuilder.util.documents import DocumentError, Record, parse_json, parse_toml, record_of
from envbuilder.util.strict_json import Cap
from envbuilder.util.yaml import Value, read_document

CAP: Final = Cap(size=LARGEST)
_MOST_LOOKS: Final = 50_000_000
"""How many lines are compared in search of positions: 500 packages in 20,000 lines take ten million, one second."""


class Document:
    """One file: its content, and its lines."""

    def __init__(self, path: Path, text: str, root: Record) -> None:
        self.path = path
        self.root = root
        self._lines = text.splitlines()
        self._looks = 0

    def locate(self, text: str, *needles: str, after: int = 0) -> SourceLine:
        """Return *text* with its place: the first line that has all of *needles* (default: the text itself).

        TOML's and JSON's parsers keep no line numbers. If no line matches, or the limit of comparisons is reached,
        the place is the file. *after* is how many matching lines to skip.
        """
        self._looks += len(self._lines)
        if self._looks > _MOST_LOOKS:
            return SourceLine(text=text, place=str(self.path))
        wanted = [needle for needle in needles or (text,) if needle]
        found = [
            number for number, line in enumerate(self._lines, start=1) if all(one in line for one in wanted)
        ]
        # A line that begins with it is preferred; others may only mention it.
        first = [
            number for number in found if wanted and self._lines[number - 1].strip().startswith(wanted[0])
        ]
        if wanted and found:
            lines = first or found
            return SourceLine(text=text, place=f"{self.path}:{lines[min(after, len(lines) - 1)]}")
        return SourceLine(text=text, place=str(self.path))

    def quoted(self, text: str) -> SourceLine:
        """Return *text* with the place of that quoted string: other lines may only mention it."""
        for needle in (f'"{text}"', f"'{text}'"):
            found = self.locate(text, needle)
            if found.place != str(self.path):
                return found
        return self.locate(text)

    def key(self, text: str, name: str) -> SourceLine:
        """Return *text* with the place of the key or table *name*: the first line that begins with it."""
        self._looks += len(self._lines)
        if name and self._looks <= _MOST_LOOKS:
            bare = re.escape(name)
            begins = re.compile(
                rf"""\s*(?:\[+[^\]=#]*\b)?["']?{bare}["']?\s*(?:[=:\]]|\.[\w."'-]+\s*[=\]])"""
            )
            for number, line in enumerate(self._lines, start=1):
                if name in line and begins.match(line):
                    return SourceLine(text=text, place=f"{self.path}:{number}")
        return self.locate(text, name)


def read_toml(path: Path) -> Document:
    """Read a TOML file.

    Raises:
        RecipeError: it cannot be read, or is not TOML.
    """
    text = read_text(path)
    try:
        return Document(path, text, parse_toml(text.encode(), where=str(path), cap=CAP))
    except DocumentError as error:
        raise RecipeError(f"{path} {error.reason}") from error


def read_json(path: Path) -> Document:
    """Read a JSON file that holds an object.

    Raises:
        RecipeError: it cannot be read.
        DocumentError: it is not a JSON object.
    """
    text = read_text(path)
    return Document(path, text, parse_json(text, where=str(path), cap=CAP))


def read_yaml(path: Path) -> Document:
    """Read a YAML file that holds a mapping.

    Raises:
        RecipeError: it cannot be read, or is not YAML.
    """
    text = read_text(path)
    return Document(path, text, record_of(_as_written(read_document(path)), where=str(path)))


def _as_written(value: Value) -> Any:
    """Return *value* without line numbers; fractions become their text, because version 3.10 is not 3.1."""
    if isinstance(value.data, dict):
        return {name: _as_written(inner) for name, inner in value.data.items()}
    if isinstance(value.data, list):
        return [_as_written(inner) for inner in value.data]
    return value.raw if isinstance(value.data, float) else value.data


def texts(record: Record, key: str) -> tuple[str, ...]:
    """Return the texts of a list, or a single text as a list; empty if the key is missing.

    Raises:
        DocumentError: it is neither.
    """
    if key not in record:
        return ()
    return (record.free_text(key),) if isinstance(record.value[key], str) else record.free_texts(key)


def shown_value(record: Record, key: str) -> str:
    """Return a number, a boolean or a text as it is written.

    Raises:
        DocumentError: it is neither.
    """
    value = record.value.get(key)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else record.text(key)


def records(record: Record, key: str) -> list[Record]:
    """Return the tables of a list, or a single table as a list; empty if the key is missing.

    Raises:
        DocumentError: it is neither.
    """
    if key not in record:
        return []
    return [record.record(key)] if isinstance(record.value[key], dict) else record.records(key)


def inner(record: Record, *keys: str) -> Record | None:
    """Return the table at the nested *keys*; None if one is missing.

    Raises:
        DocumentError: one is not a table.
    """
    for key in keys:
        if key not in record:
            return None
        record = record.record(key)
    return record
