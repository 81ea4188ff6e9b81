"""The project name of a source tree."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from envbuilder.util.documents import DOCUMENT, DocumentError, parse_toml
from envbuilder.util.files import read_regular


def project_name(folder: Path) -> str | None:
    """Return the name in *folder*'s pyproject.toml, setup.cfg or setup.py; None if none has it. No code is run."""
    return (
        _of_pyproject(folder / "pyproject.toml")
        or _of_setup_cfg(folder / "setup.cfg")
        or _of_setup_py(folder / "setup.py")
    )


def _of_pyproject(path: Path) -> str | None:
    try:
        data = parse_toml(_read(path), where=str(path)).value
    except (OSError, DocumentError):
        return None
    for table in (
        data.get("project"),
        data.get("tool", {}).get("poetry") if isinstance(data.get("tool"), dict) else None,
    ):
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            return str(table["name"])
    return None


def _of_setup_cfg(path: Path) -> str | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read(path).decode("utf-8"))
    except (OSError, ValueError, configparser.Error):
        return None
    return parser.get("metadata", "name", fallback=None)


def _of_setup_py(path: Path) -> str | None:
    try:
        text = _read(path).decode("utf-8")
    except (OSError, ValueError):
        return None
    match = re.search(r"""\bname\s*=\s*["']([A-Za-z0-9][A-Za-z0-9._-]*)["']""", text)
    return None if match is None else match[1]


def _read(path: Path) -> bytes:
    return read_regular(path, most=DOCUMENT.size + 1)
