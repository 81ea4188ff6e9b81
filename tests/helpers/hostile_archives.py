"""Archives that are as they should be up to one hostile part, and the verbs that read archives."""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

from envbuilder.archive.manifest import MANIFEST_PATH
from tests.helpers import tars
from tests.helpers.environments import environment, manifest
from tests.helpers.hostile import Outcome, Room

LAST = MANIFEST_PATH
"""The member before the hostile part."""


@functools.cache
def sound() -> bytes:
    """The tar of a sound environment, its manifest last, without its end."""
    tree = environment()
    files = {**tree, MANIFEST_PATH: manifest(tree).text().encode()}
    return b"".join(
        tars.file(path, content, mode=0o755 if path.startswith("bin/") else 0o644)
        for path, content in files.items()
        if isinstance(content, bytes)
    )


def archive_of(
    folder: Path, hostile: Iterable[bytes], *, plain: bool = False, end: bytes = tars.END, raw: bool = False
) -> Path:
    """Write a sound environment with *hostile* after it; with *raw* those parts are gzip members already."""
    pack = (lambda part: part) if plain else functools.partial(gzip.compress, compresslevel=1, mtime=0)
    draft = tars.write(
        folder / "draft", [pack(sound()), *(part if raw else pack(part) for part in hostile), pack(end)]
    )
    return named(draft)


def named(draft: Path) -> Path:
    """Give a file the name that tells its content."""
    with draft.open("rb") as file:
        digest = (
            hashlib.file_digest(file, "sha256")
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(file.read())
        )
    return draft.rename(draft.with_name(f"tiny-{digest.hexdigest()[:12]}.tar.gz"))


def model(room: Room) -> Path:
    """A model directory to deploy; a folder ``repository`` is there, too."""
    (room.folder / "repository").mkdir(exist_ok=True)
    folder = room.folder / "models" / "net"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    (folder / "config.pbtxt").write_text('name: "net"\nbackend: "python"\n')
    return folder


def verify(room: Room, archive: Path) -> Outcome:
    """Verify *archive*, with both reports in ``out``."""
    out = room.folder / "out"
    return room.run(
        "verify", archive, "--no-server", "--report", out / "report.json", "--junit", out / "report.xml"
    )
