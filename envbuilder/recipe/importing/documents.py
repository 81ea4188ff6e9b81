"""Files that are imported, as documents: TOML, JSON and YAML under the same typed access, and where a text stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import LARGEST, read_text
from envbuilder.util.documents import DocumentError, Record, parse_json, parse_toml, record_of
from envbuilder.util.strict_json import Cap
from envbuilder.util.yaml import plain, read_document

CAP: Final = Cap(size=LARGEST)
_MOST_LOOKS: Final = 50_000_000
"""At lines, in search of places: five hundred packages in twenty thousand lines take ten million, in a second."""


class Document:
    """One file: its content, and the lines that its texts stand on."""

    def __init__(self, path: Path, text: str, root: Record) -> None:
        self.path = path
        self.root = root
        self._lines = text.splitlines()
        self._looks = 0

    def said(self, text: str, *needles: str) -> Said:
        """Return *text* with its place: the first line that has all of *needles* (default: the text itself).

        TOML's and JSON's parsers keep no line numbers; where nothing is found, or after more looks than an honest file
        takes, the place is the file.
        """
        self._looks += len(self._lines)
        if self._looks > _MOST_LOOKS:
            return Said(text=text, place=str(self.path))
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
        return Document(path, text, parse_toml(text.encode(), where=str(path), cap=CAP))
    except DocumentError as error:
        raise RecipeError(f"{path} {error.reason}") from error


def read_json(path: Path) -> Document:
    """Read a JSON file that holds an object.

    Raises:
        RecipeError: it cannot be read.
        DocumentError: it is no JSON object.
    """
    text = read_text(path)
    return Document(path, text, parse_json(text, where=str(path), cap=CAP))


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
