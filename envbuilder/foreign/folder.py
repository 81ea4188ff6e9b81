"""Pack the folder of an environment, so that it can be used like an archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

from envbuilder.archive.reader import StreamError
from envbuilder.archive.unpack import tar_of_folder
from envbuilder.errors import IntegrityError
from envbuilder.foreign.survey import is_environment, name_of


def pack_folder(folder: Path, into: Path) -> Path:
    """Write the tar of *folder* into the folder *into*, with its digest in the name.

    Raises:
        IntegrityError: *folder* is not an environment, or cannot be read.
        OSError: it cannot be written.
    """
    if not is_environment(folder):
        raise IntegrityError(
            f"{folder} is not an environment",
            hint="expected conda-meta/, pyvenv.cfg, or bin/activate and bin/python3 at its top level",
        )
    digest = hashlib.sha256()
    draft = into / "packed"
    with draft.open("xb") as file:
        try:
            for block in tar_of_folder(folder):
                digest.update(block)
                file.write(block)
        except StreamError as error:
            raise IntegrityError(
                f"{folder} cannot be read: {error}", hint="make sure that no other process changes it"
            ) from error
    return draft.rename(into / f"{name_of(folder)}-{digest.hexdigest()[:12]}.tar")
