"""How much an extraction may write: what the manifest beside an archive says, and what the disk has free."""

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
"""Bytes that stay free on the disk, for logs and a report; and by how much a manifest may be wrong before the reading
stops: that it is wrong at all is for the checks to say."""


class DiskRoom:
    """The room that an archive may take in a folder; each file asks for its own before it is written.

    Raises:
        VerifyError: the disk has less free than the manifest beside the archive says.
    """

    def __init__(self, archive: Path, into: Path) -> None:
        self._into = into
        self._free = max(free_bytes(into) - _SPARE, 0)
        self._said = _said_by_manifest(archive)
        self._taken = 0
        if self._said is not None and self._said > self._free:
            raise self._no_room(f"{archive.name} takes {human(self._said)} unpacked")

    def take(self, size: int, name: str) -> None:
        """Ask for the *size* bytes of the file *name*.

        Raises:
            ValueError: the manifest beside the archive says less.
            VerifyError: so much is not free.
        """
        self._taken += size
        if self._said is not None and self._taken > self._said + _SPARE:
            raise ValueError(f"it holds more than the {human(self._said)} that the manifest beside it says")
        if self._taken > self._free:
            raise self._no_room(f"up to {shown(name)} it takes {human(self._taken)}")

    def _no_room(self, what: str) -> VerifyError:
        return VerifyError(
            f"{what}, and {human(self._free)} can be written to {self._into}",
            hint="ENVBUILDER_CACHE names a folder on a larger disk",
        )


def _said_by_manifest(archive: Path) -> int | None:
    """Return the bytes that the manifest beside *archive* says it holds; None where none says it."""
    beside = manifest_beside(archive)
    try:
        return load_json(beside, cap=LISTING).integer("unpacked_size") + beside.stat().st_size
    except (OSError, EnvbuilderError):
        return None  # what is wrong with it is told by those who need more of it
