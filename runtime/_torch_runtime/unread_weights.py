"""Find files that may hold weights and that nothing reads: elsewhere, packed, or in formats of others.

``envbuilder/deployment/unread_weights.py`` is a link to this file, so deploying and loading share one rule.
"""

from __future__ import annotations

import os
import re
import zipfile

from .weight_files import INDEX, TRAINING, UNREADABLE, OversizedZip, holds_weights, is_named, zip_members

MOST_FILES = 10_000
"""How many files below a version folder are examined."""
_PACKED = re.compile(
    r"\.(safetensors|pt|pth|ckpt|bin|pt2)\.(gz|xz|bz2|zst|zip|7z)$|\.(tar\.(gz|xz|bz2|zst)|tgz|7z|rar)$"
)
"""Matches names of compressed files that may hold weights; of a plain zip archive, the member names are read."""
_FOLDERS = ("_torch_runtime", "__pycache__")


def find_elsewhere(folder: str) -> list[str]:
    """Return files, relative to *folder*, that may hold weights but are not read: elsewhere, packed, foreign."""
    above = os.path.dirname(os.path.abspath(folder))
    with os.scandir(above) as entries:
        beside = sorted(one.name for one in entries if is_named(one.name) and one.is_file())
    found = [os.path.join(os.pardir, name) for name in beside if holds_weights(os.path.join(above, name))]
    seen = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _FOLDERS and not name.startswith("."))
        for name in sorted(names):
            seen += 1
            path = os.path.join(root, name)
            hidden = name.startswith(".") and not name.startswith("._")  # the latter are macOS's
            deeper = (root != folder or hidden) and not name.endswith(INDEX) and holds_weights(path)
            foreign = name.lower().endswith(UNREADABLE) and not TRAINING.fullmatch(name)
            if deeper or foreign or _holds_packed(path) or _is_pickle(path):
                found.append(os.path.relpath(path, folder))
        if seen > MOST_FILES:
            break
    return found


def _is_pickle(path: str) -> bool:
    """Return whether Python's pickle wrote a file, whatever its name: protocol 2 to 5."""
    if not os.path.isfile(path):  # whoever opens a fifo waits
        return False
    try:
        with open(path, "rb") as file:
            return file.read(2) in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")
    except OSError:
        return False


def _holds_packed(path: str) -> bool:
    """Return whether an archive may hold weights, judging by its name or the names of its members."""
    name = os.path.basename(path).lower()
    if _PACKED.search(name):
        return True
    if not name.endswith(".zip"):
        return False
    try:
        return any(is_named(member.filename) for member in zip_members(path))
    except (OversizedZip, zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return True
