"""Which Triton releases an environment fits, as its manifest says; that one serves it, `envbuilder verify` proves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import FIRST_RELEASE, PYTRITON, Release, find_release

_NEWEST: Final = "26.06"
"""The newest release whose contract was read."""


def fitting_releases(manifest: Manifest) -> tuple[str, ...]:
    """Return the releases that *manifest* fits: by Python, glibc, libstdc++, and what they demand of packages."""
    names = [PYTRITON, *_months(FIRST_RELEASE, _NEWEST)]
    return tuple(name for name in names if name == manifest.release or _fits(manifest, find_release(name)))


def spans(names: Sequence[str]) -> str:
    """Say releases that follow each other as one span: ``24.11 to 26.06``."""
    order = [PYTRITON, *_months(FIRST_RELEASE, _NEWEST)]
    groups: list[list[str]] = []
    for name in names:
        after = groups and name in order and order.index(name) - 1 == _place(order, groups[-1][-1])
        if after and groups[-1][-1] != PYTRITON:
            groups[-1].append(name)
        else:
            groups.append([name])
    return ", ".join(f"{one[0]} to {one[-1]}" if len(one) > 1 else one[0] for one in groups)


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else -2


def _months(first: str, last: str) -> Iterator[str]:
    year, month = map(int, first.split("."))
    while (name := f"{year}.{month:02}") <= last:
        yield name
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _fits(manifest: Manifest, release: Release) -> bool:
    if ".".join(manifest.python.split(".")[:2]) not in release.pythons:
        return False
    if not (_at_most(manifest.glibc, release.wheel_glibc) and _at_most(manifest.glibcxx, release.glibcxx)):
        return False
    versions = {canonicalize_name(one.name): one.version for one in manifest.all_packages}
    for demand in map(Requirement, release.demands):
        found = versions.get(canonicalize_name(demand.name))
        if found is None or not _contains(demand, found):
            return False
    return True


def _contains(demand: Requirement, version: str) -> bool:
    try:
        return demand.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _at_most(asked: str | None, there: str) -> bool:
    parts = [[int(one) for one in version.split(".")] for version in (asked or "0", there)]
    return parts[0] <= parts[1]
