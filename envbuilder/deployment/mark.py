"""The mark in a model's folder that this tool made, where no environment's record in it shows that.

``envbuilder.deployed.json``: `deploy` writes it if the environment is outside and was not put there by a
deployment, or is an image. `apply` writes it into what it copies, with the sha256 of each file: only these may be
replaced or removed again. It says nothing of where it lies: a folder that is moved, or is copied to an object
store, keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.deployment.record import SUFFIX
from envbuilder.util.documents import LISTING, DocumentError, parse_json
from envbuilder.util.files import read_regular

MARK: Final = f"envbuilder{SUFFIX}"
MOST: Final = LISTING.size
"""Largest mark that is read, in bytes."""
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The content of a mark."""

    files: Mapping[str, str] | None
    """The files that were copied, with their sha256; two of them, where a copy to an object store was interrupted.
    None: a deployment made the folder what it is."""

    def text(self) -> bytes:
        """Return the JSON."""
        data = {
            "format": _FORMAT,
            "placed-by": "envbuilder deploy" if self.files is None else "envbuilder apply",
        }
        listed = {} if self.files is None else {"files": dict(sorted(self.files.items()))}
        return f"{json.dumps({**data, **listed}, indent=1)}\n".encode()

    def with_former(self, former: Mapping[str, str]) -> Mark:
        """Return the mark of a folder that is being changed file by file: each file may still be that of *former*."""
        files = self.files or {}
        return Mark(files={path: _joined(former.get(path), files.get(path)) for path in {*former, *files}})


DEPLOYED: Final = Mark(files=None)


def read_mark(folder: Path) -> Mark | None:
    """Return the mark in the model's folder *folder*; None: there is none, or it cannot be read."""
    path = folder / MARK
    try:
        return None if path.is_symlink() else parse_mark(read_regular(path, most=MOST + 1))
    except OSError:
        return None


def parse_mark(data: bytes) -> Mark | None:
    """Parse *data* as a mark; None if it is not one: then nothing counts as this tool's."""
    try:
        found = parse_json(data, where=MARK, cap=LISTING)
        found.only("format", "placed-by", "files")
        found.integer("format", _FORMAT, _FORMAT)
        by = found.choice("placed-by", "envbuilder deploy", "envbuilder apply")
        return DEPLOYED if by == "envbuilder deploy" else Mark(files=found.text_map("files"))
    except DocumentError:
        return None


def _joined(*digests: str | None) -> str:
    found: Iterable[str] = (one for said in digests if said is not None for one in said.split())
    return " ".join(dict.fromkeys(found))
