"""A possible source of an artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A possible source of an artifact."""

    place: str
    """The path or the URL for display, without credentials."""
    path: Path | None = None
    """A path on this machine."""
    url: str = ""
    """A URL."""
    read: Callable[[], Iterator[bytes]] | None = None
    """Whether it is the remote store."""
    sha256: str | None = None
    """The size in bytes that an index announces."""
