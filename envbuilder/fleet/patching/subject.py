"""The subject of a patch: an OSV record, or a version of a package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.errors import RecipeError
from envbuilder.inventory.audit import find_records, read_advisories
from envbuilder.inventory.components import Component
from envbuilder.inventory.license import Licence
from envbuilder.inventory.osv import Advisory, component_keys, fixed_by, named_by
from envbuilder.lockfile.model import Artifact, Lock

_PINNED: Final = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s=]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The vulnerability or version to search for."""

    name: str
    """Its name: the advisory's id, or ``package==version``."""
    advisories: tuple[Advisory, ...] = ()
    project: str | None = None
    """The package, if a version of one was named."""
    version: str | None = None

    def hits(self, component: Component) -> bool:
        """Whether it affects *component*. A version that cannot be compared counts as affected."""
        if self.project is not None and self.version is not None:
            name = component.project or canonicalize_name(component.name)
            return name == self.project and _same(component.version, self.version)
        keys = component_keys(component)[0]
        for advisory in self.advisories:
            if component.version and keys & named_by(advisory):
                try:
                    if fixed_by(advisory, component)[0]:
                        return True
                except ValueError:
                    return True
        return False

    def fixed(self, component: Component) -> tuple[str, ...]:
        """Return the known versions in which *component* is fixed."""
        found: dict[str, None] = {}
        for advisory in self.advisories:
            try:
                found |= dict.fromkeys(fixed_by(advisory, component)[1])
            except ValueError:
                continue
        return tuple(found)


def _same(one: str, other: str) -> bool:
    try:
        return Version(one).public == Version(other).public or Version(one) == Version(other)
    except InvalidVersion:
        return one == other


_NOTHING: Final = Licence(expression=None, declared="", source="nothing")


def component_of(artifact: Artifact) -> Component:
    """Return a locked wheel as a component."""
    return _project(artifact.name, artifact.version)


def components_of(lock: Lock) -> Iterator[tuple[Component, str | None]]:
    """Yield the components of a lock, each with the locked package to upgrade, if any."""
    packages = lock.conda.packages if lock.conda is not None else ()
    names = {one.name for one in packages}
    version = lock.interpreter.version
    yield (
        Component(
            kind="interpreter",
            name="cpython",
            version=version,
            purl=f"pkg:generic/cpython@{version}",
            licence=_NOTHING,
        ),
        "python" if "python" in names else None,
    )
    for one in packages:
        purl = f"pkg:conda/{quote(one.name)}@{quote(one.version, safe='')}"
        yield (
            Component(kind="conda", name=one.name, version=one.version, purl=purl, licence=_NOTHING),
            one.name,
        )
    for name, version in lock.conda.provides if lock.conda is not None else ():
        # The lock does not record which package contains it; most have similar names.
        yield _project(name, version), name if name in names else None
    for artifact in lock.artifacts:
        yield component_of(artifact), artifact.name


def _project(name: str, version: str) -> Component:
    project = canonicalize_name(name)
    return Component(
        kind="wheel",
        name=name,
        version=version,
        purl=f"pkg:pypi/{project}@{version}",
        licence=_NOTHING,
        project=project,
    )


def read_subject(said: str, database: Path | None) -> Subject:
    """Parse *said*: the path of an OSV record, ``package==version``, or the id of a record in *database*.

    Raises:
        RecipeError: it is none of these, or there is no database to look up an id in.
        IntegrityError: the record, or the database, cannot be read.
    """
    path = Path(said)
    if said.endswith(".json") or path.is_file():
        found = tuple(read_advisories(path))
        return Subject(name=found[0].id if len(found) == 1 else path.stem, advisories=found)
    pinned = _PINNED.fullmatch(said)
    if pinned is not None:
        return Subject(name=said, project=canonicalize_name(pinned["name"]), version=pinned["version"])
    if database is None:
        raise RecipeError(
            f"{said} is neither a file nor PACKAGE==VERSION, and there is no database of advisories to look it up in",
            hint="name OSV records with --advisories PATH, or with `advisories` in envbuilder.toml",
        )
    return Subject(name=said, advisories=_by_id(said, database))


def _by_id(said: str, database: Path) -> tuple[Advisory, ...]:
    found: Sequence[Advisory] = find_records(said, database)
    if not found:
        raise RecipeError(f"{database} has no advisory {said}", hint="is the database up to date?")
    return tuple(found)
