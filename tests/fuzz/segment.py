"""Fuzz the reader of a segment's facts: ``python -m tests.fuzz.segment --seconds 60``.

Any facts with a right checksum are refused with a DamagedSegmentError, or are those of a segment of which nothing is
negative and no file lies outside. See :mod:`tests.fuzz.common`.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder.archive.segment", "envbuilder.util"]):
    from envbuilder.archive.elf import ElfFacts
    from envbuilder.archive.segment import DamagedSegmentError, FileFacts, Piece, Segment, load_segment
from envbuilder.util.documents import is_inside

_FOLDER = tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-")
_LITERALS = b"literals"


def read_segment(data: bytes) -> None:
    """Read *data* as facts."""
    folder = Path(_FOLDER.name)
    (folder / "segment.json").write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
    (folder / "literals").write_bytes(_LITERALS)
    with suppress(DamagedSegmentError):
        found = load_segment(folder, "key")
        assert found.size >= 0
        assert sum(piece.literal for piece in found.pieces) == len(_LITERALS)
        assert min((min(p.literal, p.offset, p.splice) for p in found.pieces), default=0) >= 0
        assert all(
            is_inside(file.path) or "//" in f"{file.path}/" or "/./" in f"/{file.path}/"
            for file in found.files
        )


def _seed() -> bytes:
    """Return the facts of a segment that is right."""
    with tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-") as name:
        facts = FileFacts("lib/x", 0o644, 5, "0" * 64, None, ElfFacts(needs=("libc.so.6",)))
        piece = Piece(len(_LITERALS), 1, 2, 3, 4)
        segment = Segment(
            key="key",
            label="x.whl",
            artifact="0" * 64,
            pieces=(piece,),
            size=9,
            files=(facts,),
            omitted=(facts,),
            folder=Path(name),
        )
        segment.save()
        return (Path(name) / "segment.json").read_bytes().partition(b"\n")[2]


SEEDS = [_seed(), b"{}"]

if __name__ == "__main__":
    fuzz(read_segment, SEEDS, __doc__.splitlines()[0])
