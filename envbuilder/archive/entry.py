"""A file that goes into a segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envbuilder.archive.member import Member


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to write into a segment; its content is one of *data*, *source* and *member*."""

    path: str
    mode: int = 0o644
    data: bytes | None = None
    source: Path | None = None
    member: Member | None = None
    link: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the content."""
        if self.member is not None:
            return self.member.size
        if self.source is not None:
            return self.source.stat().st_size
        return len(self.data or b"")
