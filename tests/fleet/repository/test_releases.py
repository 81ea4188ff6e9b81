"""The Triton releases that an environment fits."""

from __future__ import annotations

import pytest

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import find_release
from envbuilder.fleet.repository.releases import fitting_releases, spans
from tests.helpers.inventories import Package, manifest_of

NUMPY = Package(name="numpy", version="1.26.4")
NUMPY_2 = Package(name="numpy", version="2.1.0")


def fits(*packages: Package, python: str = "3.12.3", release: str = "25.06", **values: object) -> list[str]:
    manifest: Manifest = manifest_of(*(packages or (NUMPY,)), python=python, release=release, **values)
    return list(fitting_releases(manifest))


def test_releases_of_the_same_python_that_have_as_new_a_glibc() -> None:
    found = fits(glibc="2.28", glibcxx="3.4.25")
    assert "25.06" in found
    assert all("3.12" in find_release(name).pythons for name in found)
    older = fits(python="3.10.12", release="24.10")
    assert "24.10" in older
    assert set(older).isdisjoint(found) or all("3.10" in find_release(name).pythons for name in older)


def test_a_glibc_of_a_later_image_fits_no_earlier_one() -> None:
    later = find_release("25.06").wheel_glibc
    earlier = fits(python="3.10.12", release="24.10", glibc=later)
    assert earlier == ["24.10"], "what it was built for is always among them"
    assert "24.09" in fits(python="3.10.12", release="24.10", glibc="2.28", glibcxx="3.4.25")
    assert fits(glibc="2.99") == fits(glibcxx="3.4.99") == ["25.06"]


def test_what_a_release_demands_of_packages_is_in_it() -> None:
    demands = {name: find_release(name).demands for name in fits(NUMPY)}
    assert any("numpy<2" in said for said in demands.values()) or fits(NUMPY) == fits(NUMPY_2)
    pytriton = fits(NUMPY, python="3.11.7", release="pytriton-0.7.0")
    assert "pytriton-0.7.0" in pytriton
    other = fits(NUMPY_2, python="3.11.7", release="25.06")
    assert "pytriton-0.7.0" not in other
    assert "pytriton-0.7.0" not in fits(Package(name="beta"), python="3.11.7", release="25.06")
    assert "pytriton-0.7.0" not in fits(
        Package(name="numpy", version="no version"), python="3.11.7", release="25.06"
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["25.06"], "25.06"),
        (["24.11", "24.12", "25.01"], "24.11 to 25.01"),
        (["24.11", "25.01", "25.02"], "24.11, 25.01 to 25.02"),
        (["pytriton-0.7.0", "22.12"], "pytriton-0.7.0, 22.12"),
        (["99.01", "99.02"], "99.01, 99.02"),
    ],
)
def test_releases_that_follow_each_other_are_one_span(names: list[str], said: str) -> None:
    assert spans(names) == said
