"""Describe the files of an archive that are kept although a rule would exclude them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from envbuilder.archive.manifest import ManifestKept
from envbuilder.util.text import counted

_LIBRARY = re.compile(r"lib/python3\.\d+/(site-packages/|lib-dynload/)?")


def kept_for(kept: Iterable[ManifestKept]) -> list[str]:
    """Return a line for each folder of files that are kept: ``astropy/tests (9 files): astropy imports it``.

    The named module is outside of that folder.
    """
    folders: dict[str, list[ManifestKept]] = {}
    for one in sorted(kept, key=lambda one: one.path):
        folder = posixpath.dirname(_LIBRARY.sub("", one.path)) or posixpath.basename(one.path)
        outer = next((known for known in folders if folder.startswith(f"{known}/")), folder)
        folders.setdefault(outer, []).append(one)
    lines = []
    for folder, files in folders.items():
        inside = folder.replace("/", ".")
        importers = [one.imported_by for one in files]
        outside = [name for name in importers if name != inside and not name.startswith(f"{inside}.")]
        who = sorted(set(outside or importers))[0]
        lines.append(f"{folder} ({counted(len(files), 'file')}): {who} imports it")
    return lines
