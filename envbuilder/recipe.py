"""A recipe: the YAML file a person writes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.triton import Release, find_release

DEFAULT_EXCLUDE: tuple[str, ...] = ()
"""Filled in by ``envbuilder.pack.rules``' owner: patterns left out of an archive by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """How the archive is written."""

    bytecode: bool = True
    level: int = 4
    """zlib level 0 to 9 of what is compressed by us."""
    uncompressed: bool = False
    """A plain tar instead of gzip."""
    exclude: tuple[str, ...] | None = None
    """Glob patterns of paths in the environment; None: the tool's default rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """What ``envbuilder verify`` loads."""

    model: Path | None = None
    """A model directory (absolute after loading); None: the tool's own sample model."""
    compile: Mapping[str, Any] = field(default_factory=dict)
    """``torch.compile`` options of the sample model."""
    server: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One recipe, checked: every value is of its type and every pair is possible."""

    name: str
    """The stem of the file."""
    path: Path
    triton: str
    torch: str
    cuda: str
    """``cpu``, ``cuXYZ``, or ``pypi`` (the package index's own build)."""
    python: str
    """Minor version, ``3.12``; decided by the release where it leaves no choice."""
    dependencies: tuple[str, ...] = ()
    """PEP 508, as written; local wheels are absolute ``file:`` references after loading."""
    provider: str = "cpython"
    compiler: str = "none"
    exclude_newer: datetime.date | None = None
    pack: PackOptions = field(default_factory=PackOptions)
    verify: VerifyOptions = field(default_factory=VerifyOptions)

    @property
    def release(self) -> Release:
        """The facts of the Triton release."""
        return find_release(self.triton)
