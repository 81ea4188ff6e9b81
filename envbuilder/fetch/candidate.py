"""A possible source of an artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A possible source of an artifact."""

    place: str
    """The path or the URL, for a person: without credentials."""
    path: Path | None = None
    """On this machine."""
    url: str = ""
    """Elsewhere."""
    read: Callable[[], Iterator[bytes]] | None = None
    """From the remote store."""
    sha256: str | None = None
    """What an index announces."""
