"""Read a conda environment file, in the syntax of conda, mamba and micromamba."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.remark import Remark, SourceLine
from envbuilder.util.files import read_text
from envbuilder.util.yaml import Value, read_document

_HERE: Final = frozenset({"linux", "linux64", "linux-64", "unix", "x86_64", "x86-64"})
"""Selectors that apply to every server: Linux on x86-64."""
_OTHER: Final = frozenset(
    {"win", "win32", "win64", "osx", "osx64", "osx-64", "arm64", "aarch64", "ppc64le", "linux32"}
)
_UNSAID: Final = {
    "prefix": "its folder on one machine",
    "variables": "the server's environment applies to every model; set a model's parameters in its config.pbtxt",
    "platforms": "Triton's servers are Linux on x86-64",
    "category": "that is conda-lock's",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The parts of an environment file with their places; what a recipe cannot express becomes a remark."""

    path: Path
    name: str
    """The file's ``name:``, or its stem."""
    channels: tuple[SourceLine, ...]
    specs: tuple[SourceLine, ...]
    pip: tuple[SourceLine, ...]
    """The lines of its ``pip:`` section."""
    remarks: tuple[Remark, ...]
    notes: tuple[Remark, ...] = ()
    """Remarks on how a line was interpreted, which apply if the line is used."""


def read_environment(path: Path) -> Environment:
    """Read the environment file *path*.

    Raises:
        RecipeError: it cannot be read, or is not an environment file; the message has file and line.
    """
    root = read_document(path)
    if not isinstance(root.data, dict) or not root.data.keys() & {"dependencies", "channels"}:
        raise root.error(
            "is not a conda environment file",
            "one has `dependencies:`, a list of match specs, and `channels:`",
        )
    parts = _Parts(lines=read_text(path).splitlines())
    name = path.stem
    for key, value in root.data.items():
        if key == "name":
            name = str(value.data or "")
        elif key == "channels":
            parts.channels += [_said(item, "`channels`") for item in _items(value, key)]
        elif key == "dependencies":
            for item in _items(value, key):
                parts.dependency(item)
        else:
            said = SourceLine(text=key, place=_place(value))
            parts.remarks.append(said.left_out(_UNSAID.get(key, "recipes have no such key")))
    return Environment(
        path=path,
        name=name,
        channels=tuple(parts.channels),
        specs=tuple(parts.specs),
        pip=tuple(parts.pip),
        remarks=tuple(parts.remarks),
        notes=tuple(parts.notes),
    )


@dataclass(kw_only=True, slots=True)
class _Parts:
    lines: Sequence[str]
    """The file's lines: selectors are comments, which no YAML parser keeps."""
    channels: list[SourceLine] = field(default_factory=list)
    specs: list[SourceLine] = field(default_factory=list)
    pip: list[SourceLine] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)

    def dependency(self, item: Value) -> None:
        """Add one entry of ``dependencies``: a spec, ``sel(linux): spec``, or ``pip:`` and a list."""
        if not isinstance(item.data, dict):
            self._selected(_said(item, "`dependencies`"), self._comment(item), self.specs)
            return
        for key, value in item.data.items():
            selector = re.fullmatch(r"sel\(([^()]*)\)", key)
            if key == "pip":
                for line in _items(value, "pip"):
                    self._selected(_said(line, "`pip`"), self._comment(line), self.pip)
            elif selector is not None:
                self._selected(_said(value, "`dependencies`"), selector[1], self.specs)
            else:
                said = SourceLine(text=key, place=_place(value))
                self.remarks.append(said.left_out("neither a match spec nor `pip:`"))

    def _comment(self, item: Value) -> str:
        found = re.search(r"\s#\s*\[([^\[\]]+)\]\s*$", self.lines[item.line - 1])
        return found[1] if found is not None else ""

    def _selected(self, said: SourceLine, selector: str, into: list[SourceLine]) -> None:
        """Add *said* to *into*, unless it is for other machines."""
        words = selector.strip().lower()
        other = words.removeprefix("not ")
        if words in _OTHER or (other != words and other in _HERE):
            self.remarks.append(said.left_out(f"for other machines only: [{selector}]"))
            return
        if words and words not in _HERE and other not in _OTHER:
            self.notes.append(said.changed(f"included, whatever its selector [{selector}] says"))
        into.append(said)


def _items(value: Value, key: str) -> list[Value]:
    if value.data is None:
        return []
    if not isinstance(value.data, list):
        raise value.error(f"`{key}` is no list", "write each on its own line, after a dash")
    return value.data


def _said(item: Value, where: str) -> SourceLine:
    if not isinstance(item.data, str) or not item.data.strip():
        raise _no_text(item, where)
    return SourceLine(text=item.data.strip(), place=_place(item))


def _no_text(item: Value, where: str) -> RecipeError:
    return item.error(
        f"an entry of {where} is no text", f'write it in quotes: "{item.raw}"' if item.raw else None
    )


def _place(value: Value) -> str:
    return f"{value.source}:{value.line}"
