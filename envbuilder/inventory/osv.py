"""Advisories as OSV publishes them (https://ossf.github.io/osv-schema/): whether one is about a component.

Versions of Python packages are compared as PEP 440 has them, without their local part: ``2.13.0+cpu`` is a build of
``2.13.0``, and what affects one affects the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.inventory.components import Component
from envbuilder.util.documents import Record

_CPYTHON: Final = re.compile(r"https?://github\.com/python/cpython(?:\.git)?/?")
_SEMVER: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?")


_EVENTS: Final = {"introduced": 0, "fixed": 1, "last_affected": 2, "limit": 3}
"""What a range is made of; of one version, in this order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Versions from one to another, as a record says them."""

    kind: str
    """How they are ordered: ``ECOSYSTEM``, ``SEMVER`` or ``GIT``."""
    repository: str
    events: tuple[tuple[str, str], ...]
    """A key of OSV's events, and a version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Affected:
    """What a record is about."""

    ecosystem: str | None
    """None: it names no package."""
    project: str
    """Normalized."""
    versions: tuple[str, ...]
    ranges: tuple[Range, ...]

    @property
    def is_cpython(self) -> bool:
        """Whether it is about CPython: the PSF's advisories name its repository, no package of an ecosystem."""
        return self.ecosystem is None and any(_CPYTHON.fullmatch(one.repository) for one in self.ranges)


@dataclass(frozen=True, kw_only=True, slots=True)
class Advisory:
    """One record."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    severity: str
    """As the record says it: a word, or a CVSS vector; empty where it says none."""
    modified: str
    withdrawn: bool
    affected: tuple[Affected, ...]


def parse_advisory(record: Record) -> Advisory:
    """Return the advisory of one record.

    Raises:
        DocumentError: it is none.
    """
    id = record.text("id", longest=200)
    if "schema_version" in record and not record.text("schema_version").startswith("1."):
        record.fail("schema_version", f"{record.text('schema_version')} is another than 1.x, which is read")
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
    return Affected(
        ecosystem=package.text("ecosystem").partition(":")[0] if package is not None else None,
        project=canonicalize_name(package.text("name")) if package is not None else "",
        versions=record.texts("versions") if "versions" in record else (),
        ranges=tuple(
            Range(
                kind=one.text("type"),
                repository=one.text("repo") if "repo" in one else "",
                events=tuple(
                    (kind, event.text(kind))
                    for event in _records(one, "events")
                    for kind in _EVENTS
                    if kind in event
                ),
            )
            for one in _records(record, "ranges")
        ),
    )


def _records(record: Record, key: str) -> list[Record]:
    return record.records(key) if key in record else []


def projects(advisory: Advisory) -> set[str]:
    """Return the Python projects that an advisory names, normalized; ``cpython`` of the interpreter itself."""
    found = set()
    for affected in advisory.affected:
        if affected.ecosystem == "PyPI":
            found.add(affected.project)
        elif affected.is_cpython:
            found.add("cpython")
    return found


def fixed_by(advisory: Advisory, component: Component) -> tuple[bool, tuple[str, ...]]:
    """Return whether *advisory* is about the component's version, and in which versions it is mended.

    Raises:
        ValueError: a version of the advisory cannot be compared with the component's.
    """
    hit, fixed = False, []
    for affected in advisory.affected if not advisory.withdrawn else ():
        if not _names(affected, component):
            continue
        fixed += [version for one in affected.ranges for kind, version in one.events if kind == "fixed"]
        hit = hit or _is_affected(affected, component, advisory.id)
    return hit, tuple(dict.fromkeys(fixed))


def _names(affected: Affected, component: Component) -> bool:
    if component.kind == "interpreter":
        return affected.is_cpython
    return (
        component.project is not None
        and affected.ecosystem == "PyPI"
        and affected.project == component.project
    )


def _is_affected(affected: Affected, component: Component, id: str) -> bool:
    version = _public(component.version)
    if any(_same(one, version) for one in affected.versions):
        return True
    keys: dict[str, Callable[[str], Any]] = {"ECOSYSTEM": _pep440, "SEMVER": _semver}
    for one in affected.ranges:
        key = keys.get(one.kind)
        if key is None:
            continue  # GIT: commits, which no archive has; its versions are listed
        try:
            if _in_range(one.events, key, version):
                return True
        except (InvalidVersion, ValueError) as error:  # int() refuses thousands of digits
            raise ValueError(f"{id}: a version of {component.name} cannot be compared: {error}") from error
    return False


def _in_range(events: Sequence[tuple[str, str]], key: Callable[[str], Any], version: str) -> bool:
    """Follow OSV's own steps: events in the order of their versions; the last one that counts decides."""
    here = key(version)
    limits = [limit for kind, limit in events if kind == "limit"]
    if limits and not any(limit == "*" or here < key(limit) for limit in limits):
        return False
    # "0" is before every version; of one version, it begins to be affected before it ends.
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
    """A key that sorts, where None is before everything."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _Ordered) -> bool:
        if self.key is None or other.key is None:
            return self.key is None and other.key is not None
        return bool(self.key < other.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ordered) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]  # it is only sorted


def _public(version: str) -> str:
    return version.partition("+")[0]


def _same(said: str, version: str) -> bool:
    said = _public(said.removeprefix("v"))
    try:
        return Version(said) == Version(version)
    except InvalidVersion:  # names from before PEP 440
        return said == version


def _pep440(version: str) -> Version:
    return Version(_public(version))


def _semver(version: str) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Return what orders versions as SemVer 2.0 has it; one without a third number is as if that were 0."""
    padded = version + ".0" * max(2 - version.partition("-")[0].count("."), 0)
    match = _SEMVER.fullmatch(padded)
    if match is None:
        raise InvalidVersion(f"{version!r} is no SemVer")
    before = match[4]
    parts = (
        [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in before.split(".")]
        if before
        else [(2, 0, "")]
    )
    return (int(match[1]), int(match[2]), int(match[3])), tuple(parts)
