"""The Triton releases that an environment fits."""

from __future__ import annotations

import pytest

from envbuilder.fleet.repository.releases import fitting_releases, spans
from tests.helpers.inventories import Package, manifest_of

NUMPY = Package(name="numpy", version="1.26.4")
OLD = {"glibc": "2.28", "glibcxx": "3.4.25"}


@pytest.mark.parametrize(
    ("python", "release", "libraries", "said"),
    [
        ("3.12.3", "25.06", OLD, "pytriton-0.7.0, 24.11 to 26.06"),
        ("3.10.12", "24.10", OLD, "pytriton-0.7.0, 23.08 to 24.10"),
        ("3.11.7", "pytriton-0.7.0", OLD, "pytriton-0.7.0"),
        ("3.10.12", "24.10", {"glibc": "2.35"}, "23.08 to 24.10"),
        ("3.12.3", "25.06", {"glibc": "2.39", "glibcxx": "3.4.33"}, "24.11 to 26.06"),
        # What it was built for is always among them.
        ("3.10.12", "24.10", {"glibc": "2.39"}, "24.10"),
        ("3.12.3", "25.06", {"glibcxx": "3.4.99"}, "25.06"),
        ("3.12.3", "25.06", {"glibc": None, "glibcxx": None}, "pytriton-0.7.0, 24.11 to 26.06"),
    ],
)
def test_by_python_and_by_the_system_libraries(
    python: str, release: str, libraries: dict[str, str | None], said: str
) -> None:
    manifest = manifest_of(NUMPY, python=python, release=release, **libraries)
    assert spans(fitting_releases(manifest)) == said


@pytest.mark.parametrize(
    ("package", "said"),
    [
        (NUMPY, "pytriton-0.7.0, 24.11 to 26.06"),
        (Package(name="numpy", version="2.1.0"), "24.11 to 26.06"),
        (Package(name="numpy", version="2.0.0rc1"), "24.11 to 26.06"),
        (Package(name="numpy", version="no version"), "25.06"),
        (Package(name="beta"), "25.06"),
    ],
)
def test_by_what_a_release_demands_of_packages(package: Package, said: str) -> None:
    manifest = manifest_of(package, python="3.12.3", release="25.06", **OLD)
    assert spans(fitting_releases(manifest)) == said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["25.06"], "25.06"),
        (["24.11", "24.12", "25.01"], "24.11 to 25.01"),
        (["24.11", "25.01", "25.02"], "24.11, 25.01 to 25.02"),
        (["pytriton-0.7.0", "23.08"], "pytriton-0.7.0, 23.08"),
        (["99.01", "99.02"], "99.01, 99.02"),
    ],
)
def test_releases_that_follow_each_other_are_one_span(names: list[str], said: str) -> None:
    assert spans(names) == said
