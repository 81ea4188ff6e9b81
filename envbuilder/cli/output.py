"""How a verb says its result: text, JSON, or a file."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from envbuilder.errors import RecipeError
from envbuilder.util.files import write_whole
from envbuilder.util.printable import json_text
from envbuilder.util.tempdirs import output_folder


def out(result: object, as_json: bool, text: str = "") -> None:
    """Print *result* as JSON, or *text* in place of it."""
    click.echo(json_text(plain(result)) if as_json else text)


def plain(value: Any) -> Any:
    """Make JSON of dataclasses and what is in them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (Path, datetime.date, enum.Enum)):
        return str(value)
    return value


def write_file(path: Path, text: str) -> None:
    """Write what an option names; the file changes at once or not at all."""
    try:
        with output_folder(path.parent):
            write_whole(path, text.encode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
