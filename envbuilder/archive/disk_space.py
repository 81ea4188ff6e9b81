"""Limits on how much an extraction may write: the size in the archive's manifest, and the free disk space."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from envbuilder.archive.manifest import manifest_beside
from envbuilder.errors import EnvbuilderError, VerifyError
from envbuilder.util.documents import LISTING, load_json
from envbuilder.util.files import free_bytes
from envbuilder.util.printable import shown
from envbuilder.util.text import human

_SPARE: Final = 64 * 2**20
"""Bytes to keep free on the disk for logs and a report, and by how much an archive may exceed the size in its manifest
before extraction stops; smaller differences are reported by the checks."""


class DiskRoom:
    """The disk space that an archive may take in a folder; each file reserves its size before it is written.

    Raises:
        VerifyError: the manifest's unpacked size exceeds the free disk space.
    """

    def __init__(self, archive: Path, into: Path) -> None:
        self._into = into
        self._free = max(free_bytes(into) - _SPARE, 0)
        self._said = _said_by_manifest(archive)
        self._taken = 0
        if self._said is not None and self._said > self._free:
            raise self._no_room(f"{archive.name} takes {human(self._said)} unpacked")

    def take(self, size: int, name: str) -> None:
        """Reserve *size* bytes for the file *name*.

        Raises:
            ValueError: the archive exceeds the size in its manifest.
            VerifyError: the disk does not have enough free space.
        """
        self._taken += size
        if self._said is not None and self._taken > self._said + _SPARE:
            raise ValueError(f"it exceeds the unpacked size in its manifest, {human(self._said)}")
        if self._taken > self._free:
            raise self._no_room(f"up to {shown(name)} it takes {human(self._taken)}")

    def _no_room(self, what: str) -> VerifyError:
        return VerifyError(
            f"{what}, and {human(self._free)} can be written to {self._into}",
            hint="ENVBUILDER_CACHE names a folder on a larger disk",
        )


def _said_by_manifest(archive: Path) -> int | None:
    """Return the unpacked size in the manifest next to *archive*; None without a valid manifest."""
    beside = manifest_beside(archive)
    try:
        return load_json(beside, cap=LISTING).integer("unpacked_size") + beside.stat().st_size
    except (OSError, EnvbuilderError):
        return None  # errors in it are reported where it is needed
