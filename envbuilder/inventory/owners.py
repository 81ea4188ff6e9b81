"""Determine which package of an environment owns a file, from RECORD and ``conda-meta``.

Both are long, and read only if an embedded component's owner is needed.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.source import open_source
from envbuilder.errors import IntegrityError
from envbuilder.inventory.components import Component
from envbuilder.progress import SILENT
from envbuilder.util.documents import LISTING, DocumentError, parse_json

_RECORD: Final = re.compile(
    r"(?P<site>lib/python3\.\d+/site-packages)/(?P<name>[^/-]+)-[^/]+\.dist-info/RECORD"
)
_CONDA_META: Final = re.compile(r"conda-meta/[^/]+\.json")
_INFO: Final = re.compile(r"(?P<place>.+)/(?P<name>[^/-]+)(?:-[^/]+)?\.(?:dist-info|egg-info)(?:/.*)?")


@dataclass(frozen=True, slots=True)
class Owners:
    """Owners of projects and files."""

    projects: dict[tuple[str, str], str] = field(default_factory=dict)
    """By the folder of a Python project's ``.dist-info``, and the project's normalized name."""
    files: dict[str, str] = field(default_factory=dict)
    """By path."""

    def of(self, component: Component) -> str | None:
        """Return the package that owns *component*; None: none lists it."""
        place = component.place or ""
        return self.files.get(place) or self.projects.get((place, component.project or ""))

    def note(self, files: Iterable[str], owner: str, wanted: AbstractSet[str]) -> None:
        """Record that *owner* owns *files*."""
        for file in files:
            if file in wanted:
                self.files.setdefault(file, owner)
            info = _INFO.fullmatch(file)
            if info is not None:
                self.projects.setdefault((info["place"], canonicalize_name(info["name"])), owner)


def find_owners(environment: Path, wanted: AbstractSet[str] = frozenset()) -> Owners:
    """Return the owners of the Python projects in an archive or an unpacked environment, and of the *wanted* files.

    A package that pip installed takes precedence over a conda package.

    Raises:
        IntegrityError: it cannot be read.
    """
    wheels, conda = Owners(), Owners()
    try:
        for path, content in _listings(environment):
            record = _RECORD.fullmatch(path)
            if record is not None:
                rows = csv.reader(io.StringIO(content.decode("utf-8", "replace")))
                files = [posixpath.normpath(posixpath.join(record["site"], row[0])) for row in rows if row]
                wheels.note(files, canonicalize_name(record["name"]), wanted)
            else:
                found = parse_json(content, where=path, cap=LISTING)
                listed = found.file_paths("files") if "files" in found else ()
                conda.note(listed, found.text("name"), wanted)
    except (OSError, EOFError, ValueError, csv.Error, DocumentError) as error:
        raise IntegrityError(
            f"{environment}: the lists of its packages' files cannot be read: {error}"
        ) from error
    return Owners({**conda.projects, **wheels.projects}, {**conda.files, **wheels.files})


def _listings(environment: Path) -> Iterator[tuple[str, bytes]]:
    source = open_source(environment)
    with source.stream(SILENT) as stream:
        tar = BoundedTar(stream)
        for member in tar:
            path = os.path.normpath(member.name)
            if member.isreg() and (_RECORD.fullmatch(path) or _CONDA_META.fullmatch(path)):
                yield path, tar.content(member, LISTING.size + 1)
