"""An environment in any container, opened as a tar stream: an archive of any kind, or a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from envbuilder.archive.stream import (
    Compression,
    Positions,
    TarStream,
    compression_of,
    unreadable,
    unsupported_format,
)
from envbuilder.progress import Reporter
from envbuilder.util.files import open_regular


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An archive or a folder, and its format."""

    path: Path
    size: int
    """Size of the archive in bytes; 0 for a folder."""
    compression: Compression
    refused: str | None
    """Why Triton does not extract it; None if it may."""
    unreadable: str | None
    """Why it is not read here either."""

    def stream(self, reporter: Reporter, *, positions: Positions | None = None) -> TarStream:
        """Return its content as a tar stream."""
        return TarStream(self.path, self.compression, reporter, positions=positions)


def open_source(path: Path) -> Source:
    """Inspect the archive or the folder *path*.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    if path.is_dir():
        return Source(path=path, size=0, compression="folder", refused=None, unreadable=None)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(512)
    return Source(
        path=path,
        size=size,
        compression=compression_of(head),
        refused=unsupported_format(head),
        unreadable=unreadable(head),
    )
