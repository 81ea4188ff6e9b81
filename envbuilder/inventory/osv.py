"""Match components with advisories in OSV format (https://ossf.github.io/osv-schema/).

Packages are matched by their package URL, see :mod:`envbuilder.inventory.ecosystems`. Versions of Python packages
are compared by PEP 440, without their local part: ``2.13.0+cpu`` is a build of ``2.13.0``, and what affects one
affects the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from packaging.version import InvalidVersion

from envbuilder.errors import RecipeError
from envbuilder.inventory.components import Component
from envbuilder.inventory.ecosystems import (
    GIT,
    Key,
    keys_of,
    normalize,
    ordering,
    public_version,
    same_version,
)
from envbuilder.util.documents import Record
from envbuilder.util.printable import shown

GIT_VERSIONS: Final = "versions of a repository"
LONGEST_VERSION: Final = 256
"""Longest version that is compared, in characters: univers takes a minute for an Alpine version of 10,000."""
_CPYTHON_AT: Final = re.compile(r"https?://github\.com/python/cpython(?:\.git)?/?")

CPYTHON: Final = Key(GIT, "cpython")
_EVENTS: Final = {"introduced": 0, "fixed": 1, "last_affected": 2, "limit": 3}
"""The events of a range, in this order for equal versions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A range of versions in a record."""

    kind: str
    """Their order: ``ECOSYSTEM``, ``SEMVER`` or ``GIT``."""
    repository: str
    events: tuple[tuple[str, str], ...]
    """A key of OSV's events, and a version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Affected:
    """A package that a record affects."""

    ecosystem: str | None
    """The ecosystem without its release; None: it names no package."""
    project: str
    """Normalized for its ecosystem."""
    versions: tuple[str, ...]
    ranges: tuple[Range, ...]
    release: str = ""
    """A distribution's release: ``12`` of ``Debian:12``."""

    @property
    def is_cpython(self) -> bool:
        """Whether it affects CPython: the PSF's advisories name its repository instead of a package."""
        return self.ecosystem is None and any(_CPYTHON_AT.fullmatch(one.repository) for one in self.ranges)

    @property
    def keys(self) -> set[Key]:
        """The package's names: in its ecosystem, or its repositories."""
        if self.is_cpython:
            return {CPYTHON}
        if self.ecosystem is not None:
            return {Key(self.ecosystem, self.project)}
        names = (one.repository.rstrip("/").removesuffix(".git").rpartition("/")[2] for one in self.ranges)
        return {Key(GIT, name.lower()) for name in names if name}


@dataclass(frozen=True, kw_only=True, slots=True)
class Advisory:
    """One record."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    severity: str
    """The record's severity: a word, or a CVSS vector; empty if there is none."""
    modified: str
    withdrawn: bool
    affected: tuple[Affected, ...]


def parse_advisory(record: Record) -> Advisory:
    """Return the advisory of one record.

    Raises:
        DocumentError: it is invalid.
    """
    id = record.text("id", longest=200)
    if "schema_version" in record and not record.text("schema_version").startswith("1."):
        record.fail("schema_version", f"{record.text('schema_version')} is not supported: expected 1.x")
    specific = record.record("database_specific") if "database_specific" in record else None
    words = specific.text("severity") if specific is not None and "severity" in specific else ""
    vectors = [one.text("score") for one in _records(record, "severity") if "score" in one]
    details = record.free_text("details") if "details" in record else ""
    return Advisory(
        id=id,
        aliases=record.texts("aliases") if "aliases" in record else (),
        summary=record.free_text("summary") if "summary" in record else next(iter(details.splitlines()), ""),
        severity=words or next(iter(vectors), ""),
        modified=record.text("modified") if "modified" in record else "",
        withdrawn="withdrawn" in record,
        affected=tuple(_affected(one) for one in _records(record, "affected")),
    )


def _affected(record: Record) -> Affected:
    package = record.record("package") if "package" in record else None
    ecosystem, _, release = package.text("ecosystem").partition(":") if package is not None else ("", "", "")
    return Affected(
        ecosystem=ecosystem if package is not None else None,
        project=normalize(ecosystem, package.text("name")) if package is not None else "",
        versions=record.texts("versions") if "versions" in record else (),
        ranges=tuple(_range(one) for one in _records(record, "ranges")),
        release=release,
    )


def _range(record: Record) -> Range:
    kind, events = record.text("type"), _records(record, "events")
    specific = record.record("database_specific") if "database_specific" in record else None
    if kind == "GIT" and specific is not None and "versions" in specific:
        # Archives have no commits, but OSV's records of CVEs list the versions here.
        events = _records(specific, "versions")
        kind = GIT_VERSIONS
    return Range(
        kind=kind,
        repository=record.text("repo") if "repo" in record else "",
        events=tuple((key, event.text(key)) for event in events for key in _EVENTS if key in event),
    )


def _records(record: Record, key: str) -> list[Record]:
    return record.records(key) if key in record else []


def named_by(advisory: Advisory) -> set[Key]:
    """Return the packages that an advisory affects."""
    return {key for affected in advisory.affected for key in affected.keys}


def component_keys(component: Component) -> tuple[set[Key], str | None]:
    """Return a component's names in advisories, and its distribution's release, if any."""
    if component.kind == "interpreter":
        return {CPYTHON}, None
    keys, release = keys_of(component.purl)
    if component.project is not None:
        keys = {*keys, Key("PyPI", component.project)}
    return keys - {CPYTHON}, release


def fixed_by(advisory: Advisory, component: Component) -> tuple[bool, tuple[str, ...]]:
    """Return whether *advisory* affects the component's version, and the fixed versions.

    Raises:
        ValueError: a version of the advisory cannot be compared with the component's.
    """
    hit, fixed = False, []
    keys, release = component_keys(component)
    for affected in advisory.affected if not advisory.withdrawn else ():
        if not affected.keys & keys or (release and affected.release and not _is_of(release, affected)):
            continue
        ranges = [one for one in affected.ranges if one.kind != "GIT"]  # those are fixed by commits
        fixed += [version for one in ranges for kind, version in one.events if kind == "fixed"]
        hit = hit or _is_affected(affected, component, advisory.id)
    return hit, tuple(dict.fromkeys(fixed))


def _is_of(release: str, affected: Affected) -> bool:
    """Whether an advisory for ``Alpine:v3.20`` or ``AlmaLinux:8`` is for packages of a release."""
    said = affected.release.removeprefix("v").partition(":")[0]
    return said == release or release.startswith(f"{said}.")


def _is_affected(affected: Affected, component: Component, id: str) -> bool:
    ecosystem = affected.ecosystem or GIT
    version = public_version(component.version) if ecosystem == "PyPI" else component.version
    if any(same_version(ecosystem, one, version) for one in affected.versions):
        return True
    for one in affected.ranges:
        try:
            key = None if one.kind == "GIT" else ordering(ecosystem, one.kind)
        except RecipeError as error:  # an extra is not installed: the others can still be compared
            raise ValueError(f"{id}: {component.name} cannot be compared: {error.hint or error}") from error
        if key is None:
            continue  # GIT: archives have no commits, but its versions are listed
        try:
            if _in_range(one.events, _bounded(key), version):
                return True
        # univers' own error is a ValueError; int() refuses thousands of digits
        except (InvalidVersion, ValueError, TypeError) as error:
            raise ValueError(f"{id}: a version of {component.name} cannot be compared: {error}") from error
    return False


def _bounded(key: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return *key*, limited to versions of a length that all ecosystems compare quickly."""

    def of(version: str) -> Any:
        if len(version) > LONGEST_VERSION:
            raise InvalidVersion(
                f"{shown(version)} has {len(version)} characters, more than {LONGEST_VERSION}"
            )
        return key(version)

    return of


def _in_range(events: Sequence[tuple[str, str]], key: Callable[[str], Any], version: str) -> bool:
    """Evaluate a range as OSV specifies: the last applicable event, in the order of versions, decides."""
    here = key(version)
    limits = [limit for kind, limit in events if kind == "limit"]
    if limits and not any(limit == "*" or here < key(limit) for limit in limits):
        return False
    # "0" precedes every version; at the same version, `introduced` precedes `fixed`.
    ordered = sorted(
        [
            (known, key(said) if known else None, _EVENTS[kind])
            for kind, said in events
            if kind != "limit"
            for known in [kind != "introduced" or said != "0"]
        ],
        key=lambda one: (one[0], _Ordered(one[1]), one[2]),
    )
    affected = False
    for known, at, kind in ordered:
        if kind == 0 and (not known or here >= at):
            affected = True
        elif (kind == 1 and here >= at) or (kind == 2 and here > at):
            affected = False
    return affected


class _Ordered:
    """A sort key that puts None first."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Ordered) -> bool:
        if self.key is None or other.key is None:
            return self.key is None and other.key is not None
        return bool(self.key < other.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ordered) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]  # it is only sorted
