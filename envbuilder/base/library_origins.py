"""Where a library of this machine came from: the Debian package that owns it, and what that says of its licence."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.util.process import CommandError, run

_DOCUMENTS: Final = Path("/usr/share/doc")
_MOST: Final = 2**16
"""Characters of a copyright file that are kept."""
_FIELDS: Final = "${binary:Package}\\t${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryOrigin:
    """The package that a library is part of."""

    package: str
    version: str
    architecture: str
    source: str
    """The name of its source package."""
    distribution: str
    """``debian``, ``ubuntu``."""
    release: str
    """``12``."""
    copyright: str
    """The text of its copyright file; empty where it has none."""


def find_origins(libraries: Iterable[Path], documents: Path = _DOCUMENTS) -> dict[str, LibraryOrigin]:
    """Return the origin of each of *libraries* that a package of this machine's distribution owns, by its file name."""
    paths = sorted({str(path) for path in libraries})
    try:
        about = platform.freedesktop_os_release()
        owners = _owners(paths)
        names = sorted(set(owners.values()))
        answer = run(["dpkg-query", "-W", f"-f={_FIELDS}", *names], env=_environment(), timeout=60).stdout
    except (CommandError, OSError):
        return {}  # another kind of system: its names tell what can be told
    known = {}
    for line in answer.splitlines():
        binary, package, version, architecture, source = line.split("\t")
        known[binary] = known[package] = LibraryOrigin(
            package=package,
            version=version,
            architecture=architecture,
            source=source,
            distribution=about.get("ID", "debian"),
            release=about.get("VERSION_ID", ""),
            copyright=_copyright(documents / package / "copyright"),
        )
    return {Path(path).name: known[name] for path, name in owners.items() if name in known}


def _owners(paths: Iterable[str]) -> dict[str, str]:
    """Return the package of each path. Where /lib is a link to /usr/lib, dpkg knows one of the two."""
    places: dict[str, str] = {}
    for path in paths:
        real = os.path.realpath(path)
        for one in (
            path,
            real,
            path.removeprefix("/usr"),
            real.removeprefix("/usr"),
            f"/usr{path}",
            f"/usr{real}",
        ):
            places.setdefault(one, path)
    found = run(["dpkg-query", "-S", *places], env=_environment(), timeout=60, check=False).stdout
    owners = {}
    for line in found.splitlines():
        packages, colon, place = line.rpartition(": ")
        if colon and place in places and not packages.startswith("diversion "):
            owners[places[place]] = packages.split(", ")[0]
    if not owners:
        raise OSError("no package owns any of them")
    return owners


def _copyright(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:_MOST]
    except OSError:  # images leave documents out
        return ""


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
