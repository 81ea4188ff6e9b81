"""The Python packages installed in an environment: their files and requirements."""

from __future__ import annotations

import csv
import email
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envbuilder.foreign.packages import METADATA, Packages, named

_RECORD: Final = re.compile(
    r"(?P<site>lib/python3\.\d+/site-packages)/(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info/RECORD"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """One installed package."""

    name: str
    """Normalized."""
    version: str
    site: str
    """``lib/python3.11/site-packages``."""
    files: frozenset[str]
    """Paths in the environment, as RECORD lists them."""
    requires: frozenset[str]
    """Normalized names of its requirements without extras."""


def installed_packages(environment: Path, members: Iterable[str]) -> dict[str, Installed]:
    """Return the packages among *members*, extracted in *environment*, by name."""
    found: dict[str, Installed] = {}
    for path in members:
        match = _RECORD.fullmatch(path)
        if match is not None:
            name = canonicalize_name(match["name"])
            metadata = environment / posixpath.dirname(path) / "METADATA"
            found[name] = Installed(
                name=name,
                version=match["version"],
                site=match["site"],
                files=frozenset(_files((environment / path).read_text("utf-8", "replace"), match["site"])),
                requires=frozenset(_requires(metadata)),
            )
    return found


def with_recorded(
    found: Mapping[str, Installed], environment: Path, packages: Packages
) -> dict[str, Installed]:
    """Return *found* and the Python packages without a RECORD, conda's and eggs, with the files in *packages*."""
    added = dict(found)
    owned = [(record.files, path) for record in packages.conda for path in record.files]
    owned += [(one.files, one.metadata) for one in packages.pip]
    for files, path in owned:
        match = METADATA.fullmatch(path)
        if match is None:
            continue
        about = named((environment / path).read_bytes(), path)
        if about is None:
            continue
        name = canonicalize_name(about[0])
        added.setdefault(
            name,
            Installed(
                name=name,
                version=about[1],
                site=match["site"],
                files=files,
                requires=frozenset(_requires(environment / path)),
            ),
        )
    return added


def _files(record: str, site: str) -> Iterator[str]:
    try:
        for row in csv.reader(record.splitlines()):
            if row and row[0]:
                yield posixpath.normpath(posixpath.join(site, row[0]))
    except csv.Error:  # the rest of a broken RECORD is ignored
        return


def _requires(metadata: Path) -> Iterator[str]:
    try:
        message = email.message_from_bytes(metadata.read_bytes())
    except OSError:
        return
    for text in message.get_all("Requires-Dist", []):
        try:
            requirement = Requirement(str(text))
        except InvalidRequirement:
            continue
        if requirement.marker is None or "extra" not in str(requirement.marker):
            yield canonicalize_name(requirement.name)


def owners(packages: Mapping[str, Installed]) -> dict[str, str]:
    """Return the package of each file."""
    return {path: package.name for package in packages.values() for path in package.files}


def with_requirements(name: str, packages: Mapping[str, Installed]) -> set[str]:
    """Return *name* and every package that it requires, directly or indirectly."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in packages and current not in seen:
            seen.add(current)
            waiting += packages[current].requires
    return seen
