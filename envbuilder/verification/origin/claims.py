"""Claims of an archive about artifacts that are not on this machine: the members that they may contain."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.extract import Contents
from envbuilder.util.documents import LISTING, DocumentError, parse_json
from envbuilder.verification.origin.locked import Unknown

_DIST_INFO: Final = re.compile(
    r"(?P<site>lib/python3\.\d+/site-packages)/(?P<name>[^/]+)-[^/-]+\.dist-info/RECORD"
)
_LARGEST: Final = 2**26
"""Largest record that is read, in bytes."""


def claimed_by(unknown: Iterable[Unknown], contents: Contents, environment: Path) -> Callable[[str], bool]:
    """Return a function that says whether a path may come from one of *unknown*.

    A claim is no proof: a claimed member has an unknown origin, an unclaimed one has none.
    """
    projects = {one.project for one in unknown if one.project is not None}
    base = any(one.project is None for one in unknown)
    claims: set[str] = set()
    for path, member in contents.members.items():
        if member.link is not None or member.size > _LARGEST:
            continue
        found = _DIST_INFO.fullmatch(path)
        if found is not None and canonicalize_name(found["name"]) in projects:
            text = (environment / path).read_text(errors="surrogateescape")
            ends = (contents.tree.resolve(row, start=found["site"], follow=False) for row in _rows(text))
            claims.update(end.path for end in ends)
        elif base and path.startswith("conda-meta/") and path.endswith(".json"):
            claims.add(path)
            claims.update(_conda_files((environment / path).read_bytes()))

    def claimed(path: str) -> bool:
        return path in claims or (base and "/site-packages/" not in path)

    return claimed


def _rows(text: str) -> Iterator[str]:
    with suppress(csv.Error):
        yield from (row[0] for row in csv.reader(text.splitlines()) if row)


def _conda_files(data: bytes) -> list[str]:
    with suppress(DocumentError):
        return list(parse_json(data, where="conda-meta", cap=LISTING).free_texts("files"))
    return []
