"""Compiled code in a model's folder: which versions were compiled ahead of time, and what for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.errors import DeployError
from envbuilder.util.documents import DOCUMENT, DocumentError, Record, parse_json
from envbuilder.util.zips import BadZipError, read_member

COMPILED: Final = re.compile(r"compiled\.[a-z]+\.(pt2|zip)")
"""The files that the runtime looks for in a version folder: an AOTInductor package, or Inductor's caches."""
KEY_FILE: Final = "envbuilder.json"
"""The member that records what the code was compiled for; the runtime reads it, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A version of a model, compiled for one kind of device."""

    version: str
    device: str
    """``CPU`` or ``GPU``."""
    file: Path | None
    """The AOTInductor package, or (``.zip``) Inductor's caches; None: nothing is compiled for it."""
    reason: str | None
    """Why the model has no package."""
    difference: float | None
    """The largest difference between a package's answers and eager's."""
    kept: bool
    """Whether it existed already, compiled from the same files."""

    def line(self) -> str:
        """Return the lines to print."""
        what = f"version {self.version}, {self.device}"
        if self.file is None:
            return f"not compiled ahead of time ({what}): {self.reason}"
        if self.reason is not None:
            return f"no package ({what}): {self.reason}; with Inductor's caches: {self.file.name}"
        if self.kept:
            return f"already compiled ahead of time ({what}): {self.file.name}"
        return f"compiled ahead of time ({what}): {self.file.name}, at most {self.difference:.2g} away from eager"


def read_key(file: Path) -> Record:
    """Return the key of compiled code: what it was compiled for.

    Raises:
        DeployError: it is damaged.
    """
    try:
        text = read_member(file, lambda name: name.rpartition("/")[2] == KEY_FILE, most=DOCUMENT.size)
        if text is None:
            raise DeployError(f"{file} is damaged: it does not contain {KEY_FILE}")
        return parse_json(text, where=f"{file}: {KEY_FILE}")
    except (OSError, BadZipError, DocumentError) as error:
        raise DeployError(f"{file} is damaged: {error}") from error
