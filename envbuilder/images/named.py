"""Parse references to an image in a layout: ``PATH``, or ``PATH:NAME`` if it has several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envbuilder.errors import IntegrityError
from envbuilder.images.layout import MARK
from envbuilder.registry.documents import REF_NAME, Descriptor, Index
from envbuilder.registry.reference import is_reference
from envbuilder.util.printable import printable_line


def is_layout(path: Path) -> bool:
    """Whether *path* is a layout in a folder, or is named like the tar of one."""
    return (
        path.name.endswith(".oci.tar") or (path / MARK).is_file() or (path.is_dir() and path.suffix == ".oci")
    )


def split_name(text: str) -> tuple[Path, str | None] | None:
    """Split *text* into the path of a layout and an optional name; None: it is not a layout.

    Paths and names may have colons: the shortest beginning that is a layout is its path.
    """
    if is_reference(text):
        return None
    parts = text.split(":")
    for count in range(1, len(parts) + 1):
        path = Path(":".join(parts[:count]))
        if parts[0] and is_layout(path):
            return path, ":".join(parts[count:]) or None
    return None


def only_image(index: Index, name: str | None, place: str) -> Descriptor:
    """Return the image with the *name* or digest in a layout; without a name, the only one.

    Raises:
        IntegrityError: there is none, or more than one.
    """
    found = [one for one in index.manifests if name is None or _is_called(one, name)]
    if len({one.digest for one in found}) == 1:
        return found[0]
    names = _names(index.manifests)
    if name is not None and not found:
        raise IntegrityError(f"{place} has no image {printable_line(name)[:100]}", hint=f"it has {names}")
    raise IntegrityError(
        f"{place} has {len(found)} images{'' if name is None else f' {printable_line(name)[:100]}'}",
        hint=f"name one, {place}:NAME: {names}" if found else None,
    )


def _is_called(one: Descriptor, name: str) -> bool:
    return one.annotations.get(REF_NAME) == name or (len(name) >= 19 and one.digest.startswith(name))


def _names(manifests: Sequence[Descriptor]) -> str:
    names = sorted(printable_line(one.annotations.get(REF_NAME, one.digest[:19]))[:100] for one in manifests)
    return ", ".join(names[:8]) or "none"
