"""Advisories as OSV publishes them (https://ossf.github.io/osv-schema/): whether one is about a component.

Versions of Python packages are compared as PEP 440 has them, without their local part: ``2.13.0+cpu`` is a build of
``2.13.0``, and what affects one affects the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.inventory.components import Component

_CPYTHON: Final = re.compile(r"https?://github\.com/python/cpython(?:\.git)?/?")
_SEMVER: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?")


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
    affected: tuple[Mapping[str, Any], ...]


def parse_advisory(record: Any) -> Advisory:
    """Return the advisory of one record.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        raise ValueError("no OSV record: it has no id")
    version = str(record.get("schema_version", "1.0.0"))
    if not version.startswith("1."):
        raise ValueError(f"{record['id']} is of OSV's schema {version}, this envbuilder reads 1.x")
    affected = record.get("affected") or []
    if not isinstance(affected, list) or not all(isinstance(one, dict) for one in affected):
        raise ValueError(f"{record['id']}: affected is no list of objects")
    specific = record.get("database_specific")
    words = specific.get("severity") if isinstance(specific, dict) else None
    vectors = [str(one.get("score", "")) for one in record.get("severity") or [] if isinstance(one, dict)]
    details = str(record.get("details") or "")
    return Advisory(
        id=record["id"],
        aliases=tuple(map(str, record.get("aliases") or ())),
        summary=str(record.get("summary") or next(iter(details.splitlines()), "")),
        severity=str(words or next(iter(vectors), "")),
        modified=str(record.get("modified") or ""),
        withdrawn=bool(record.get("withdrawn")),
        affected=tuple(affected),
    )


def projects(advisory: Advisory) -> set[str]:
    """Return the Python projects that an advisory names, normalized; ``cpython`` of the interpreter itself."""
    found = set()
    for affected in advisory.affected:
        package = affected.get("package") or {}
        if str(package.get("ecosystem", "")).partition(":")[0] == "PyPI":
            found.add(str(canonicalize_name(str(package.get("name", "")))))
        elif _is_cpython(affected):
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
        for one in affected.get("ranges") or ():
            fixed += [str(event["fixed"]) for event in one.get("events") or () if "fixed" in event]
        hit = hit or _is_affected(affected, component, advisory.id)
    return hit, tuple(dict.fromkeys(fixed))


def _names(affected: Mapping[str, Any], component: Component) -> bool:
    if component.kind == "interpreter":
        return _is_cpython(affected)
    package = affected.get("package") or {}
    return (
        component.project is not None
        and str(package.get("ecosystem", "")).partition(":")[0] == "PyPI"
        and canonicalize_name(str(package.get("name", ""))) == component.project
    )


def _is_cpython(affected: Mapping[str, Any]) -> bool:
    """Say whether it is about CPython: the PSF's advisories name its repository, no package of an ecosystem."""
    repositories = (str(one.get("repo", "")) for one in affected.get("ranges") or ())
    return not affected.get("package") and any(map(_CPYTHON.fullmatch, repositories))


def _is_affected(affected: Mapping[str, Any], component: Component, id: str) -> bool:
    version = _public(component.version)
    if any(_same(str(one), version) for one in affected.get("versions") or ()):
        return True
    keys: dict[str, Callable[[str], Any]] = {"ECOSYSTEM": _pep440, "SEMVER": _semver}
    for one in affected.get("ranges") or ():
        key = keys.get(str(one.get("type")))
        if key is None:
            continue  # GIT: commits, which no archive has; its versions are listed
        try:
            if _in_range(one.get("events") or (), key, version):
                return True
        except (InvalidVersion, AttributeError, TypeError) as error:
            raise ValueError(f"{id}: a version of {component.name} cannot be compared: {error}") from error
    return False


def _in_range(events: Iterable[Mapping[str, Any]], key: Callable[[str], Any], version: str) -> bool:
    """Follow OSV's own steps: events in the order of their versions; the last one that counts decides."""
    here = key(version)
    limits = [event["limit"] for event in events if "limit" in event]
    if limits and not any(limit == "*" or here < key(str(limit)) for limit in limits):
        return False
    # "0" is before every version; of one version, it begins to be affected before it ends.
    begins = [
        (event["introduced"] != "0", str(event["introduced"]), 0) for event in events if "introduced" in event
    ]
    ends = [(True, str(event["fixed"]), 1) for event in events if "fixed" in event]
    lasts = [(True, str(event["last_affected"]), 2) for event in events if "last_affected" in event]
    ordered = sorted(
        [(known, key(said) if known else None, kind) for known, said, kind in (*begins, *ends, *lasts)],
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
