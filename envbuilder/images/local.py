"""Find layers in archives on this machine."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from envbuilder.store.local import Store
from envbuilder.util.documents import DocumentError, parse_json
from envbuilder.util.files import open_regular

_KIND: Final = "images"
_CHUNK: Final = 2**20


def note_layer(store: Store, layer: str, archive: str, ranges: Sequence[tuple[int, int]]) -> None:
    """Record that these ranges (offset, size) of the archive with the sha256 *archive* form a layer."""
    body = {"archive": archive, "ranges": [number for pair in ranges for number in pair]}
    with contextlib.suppress(OSError):  # it would be fetched again
        store.write_entry(_KIND, f"{layer}.layer", json.dumps(body).encode())


def find_archive(folder: Path, sha256: str) -> Path | None:
    """Return the archive in *folder* with this sha256 in its name, which is not verified."""
    found = [path for suffix in (".tar.gz", ".tar") for path in folder.glob(f"*-{sha256[:12]}{suffix}")]
    return found[0] if found else None


def chunks_of_layer(
    store: Store, folder: Path, layer: str, sizes: Sequence[int]
) -> Iterator[tuple[int, int, bytes]]:
    """Yield the parts of a layer from an archive in *folder*: number of the part, offset in it, and bytes.

    *sizes* are those of the parts. The bytes are not verified.

    Raises:
        LookupError: no archive there contains them, or it cannot be read.
    """
    note = store.find(_KIND, f"{layer}.layer")
    if note is None:
        raise LookupError(layer)
    try:
        known = parse_json(note.read_bytes(), where=str(note))
        source, numbers = find_archive(folder, known.digest("archive")), known.integers("ranges")
        if source is None or list(numbers[1::2]) != list(sizes):
            raise LookupError(layer)
        with open_regular(source) as file:
            for number, (offset, size) in enumerate(zip(numbers[::2], sizes, strict=True)):
                done = 0
                while done < size:
                    chunk = os.pread(file.fileno(), min(_CHUNK, size - done), offset + done)
                    if not chunk:
                        raise LookupError(layer)
                    yield number, done, chunk
                    done += len(chunk)
    except (OSError, DocumentError, ValueError) as error:
        raise LookupError(layer) from error
