"""Pack an image's tree as an archive, if its layers do not form one: a tar of what a runtime would mount."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from envbuilder.archive.tar import END_OF_ARCHIVE, padding, tar_header
from envbuilder.util.files import file_sha256

_CHUNK: Final = 2**20


def pack_tree(tree: Path, folder: Path, recipe: str) -> Path:
    """Write the tar of *tree* into *folder*, named as archives are; the same bytes for the same tree.

    Raises:
        OSError: it cannot be written.
    """
    draft = folder / "draft"
    with draft.open("xb") as out:
        for path in sorted(_paths(tree), key=os.fsencode):
            place, name = tree / path, os.fsencode(path)
            if place.is_symlink():
                out.write(tar_header(name, mode=0o777, link=os.fsencode(os.readlink(place))))
            elif place.is_dir():
                out.write(tar_header(name + b"/", mode=0o755))
            else:
                size, mode = place.stat().st_size, place.stat().st_mode & 0o777
                out.write(tar_header(name, size=size, mode=mode))
                with place.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        out.write(chunk)
                out.write(padding(size))
        out.write(END_OF_ARCHIVE)
    archive = folder / f"{recipe}-{file_sha256(draft)[:12]}.tar"
    draft.replace(archive)
    return archive


def _paths(tree: Path) -> list[str]:
    """List files, links, and empty folders."""
    found = []
    for place, folders, files in os.walk(tree):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        inside = [*files, *links]
        if not inside and not folders and place != str(tree):
            found.append(os.path.relpath(place, tree))
        found += [os.path.relpath(os.path.join(place, name), tree) for name in inside]
    return found
