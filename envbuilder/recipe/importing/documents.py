"""Files that are imported, as documents: TOML, JSON and YAML under the same typed access, and where a text stands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import LARGEST, read_text
from envbuilder.util.documents import Record, parse_json, record_of
from envbuilder.util.strict_json import Cap
from envbuilder.util.yaml import plain, read_document

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Document:
    """One file: its content, and the lines that its texts stand on."""

    def __init__(self, path: Path, text: str, root: Record) -> None:
        self.path = path
        self.root = root
        self._lines = text.splitlines()

    def said(self, text: str, *needles: str) -> Said:
        """Return *text* with its place: the first line that has all of *needles* (default: the text itself).

        TOML's and JSON's parsers keep no line numbers; where nothing is found the place is the file.
        """
        wanted = [needle for needle in needles or (text,) if needle]
        found = [
            number for number, line in enumerate(self._lines, start=1) if all(one in line for one in wanted)
        ]
        # A line that begins with it says it; another may only mention it.
        first = [
            number for number in found if wanted and self._lines[number - 1].strip().startswith(wanted[0])
        ]
        if wanted and found:
            return Said(text=text, place=f"{self.path}:{(first or found)[0]}")
        return Said(text=text, place=str(self.path))


def read_toml(path: Path) -> Document:
    """Read a TOML file.

    Raises:
        RecipeError: it cannot be read, or is not TOML.
    """
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not TOML: {_first_line(error)}") from error
    return Document(path, text, record_of(data, where=str(path)))


def read_json(path: Path) -> Document:
    """Read a JSON file that holds an object.

    Raises:
        RecipeError: it cannot be read.
        DocumentError: it is no JSON object.
    """
    text = read_text(path)
    return Document(path, text, parse_json(text, where=str(path), cap=Cap(size=LARGEST)))


def read_yaml(path: Path) -> Document:
    """Read a YAML file that holds a mapping.

    Raises:
        RecipeError: it cannot be read, or is not YAML.
    """
    text = read_text(path)
    data = plain(read_document(path))
    return Document(path, text, record_of(data, where=str(path)))


def tables(value: object) -> list[Mapping[str, Any]]:
    """Return the tables in *value*, which may be one, a list of them, or neither."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
