"""What of a lock and of an archive an advisory is about, and which locked package brought it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.fleet.patching.holdings import changed_between, held_by, held_in
from envbuilder.fleet.patching.subject import read_subject
from envbuilder.inventory.components import take_inventory
from envbuilder.lockfile.model import CondaPackage, LockedConda
from tests.fleet.patching.conftest import lock_of, wheel
from tests.helpers.inventories import SITE, Package, files_at, inventory, write_archive


def conda(name: str, version: str) -> CondaPackage:
    return CondaPackage(
        name=name,
        version=version,
        filename=f"{name}-{version}-0.conda",
        sha256="2" * 64,
        size=1,
        build="0",
        channel="c",
        subdir="linux-64",
    )


@pytest.mark.parametrize(
    ("said", "found", "package"),
    [
        ("zlib==1.2.13", "zlib 1.2.13", "zlib"),
        ("pytorch==2.7.1", "pytorch 2.7.1", "pytorch"),
        ("numpy==1.26.4", "numpy 1.26.4", "numpy"),
        ("torch==2.7.1", "torch 2.7.1", None),
        ("cpython==3.11.7", "cpython 3.11.7 in python", "python"),
        ("beta==1.0", "beta 1.0", "beta"),
    ],
)
def test_of_a_lock_everything_counts(said: str, found: str, package: str | None, tmp_path: Path) -> None:
    packages = [
        conda(*one)
        for one in (("python", "3.11.7"), ("zlib", "1.2.13"), ("pytorch", "2.7.1"), ("numpy", "1.26.4"))
    ]
    provides = (("numpy", "1.26.4"), ("torch", "2.7.1"))
    locked = replace(
        lock_of(tmp_path, wheel("beta")), conda=LockedConda(packages=tuple(packages), provides=provides)
    )
    held = held_by(read_subject(said, None), locked, None)
    assert {(one.label(), one.package) for one in held} == {(found, package)}


def test_an_interpreter_without_packages_is_none(tmp_path: Path) -> None:
    (one,) = held_by(read_subject("cpython==3.11.7", None), lock_of(tmp_path), None)
    assert (one.package, one.is_of_interpreter, one.label()) == (None, True, "cpython 3.11.7")


def test_what_is_vendored_is_of_the_package_that_lists_it(tmp_path: Path) -> None:
    vendored = Package(name="packaging", version="23.0", place=f"{SITE}/pkg_resources/_vendor")
    own = Package(name="packaging", version="24.0")
    row = b"pkg_resources/_vendor/packaging-23.0.dist-info/METADATA,,\n"
    more = {f"{SITE}/setuptools-70.0.dist-info/RECORD": row}
    archive = write_archive(
        tmp_path / "x.tar.gz", Package(name="setuptools", version="70.0"), own, vendored, more=more
    )
    locked = lock_of(tmp_path, wheel("packaging", "24.0"), wheel("setuptools", "70.0"))
    subject = read_subject("packaging==23.0", None)
    (one,) = held_by(subject, locked, take_inventory(archive), archive)
    assert (one.package, one.label()) == ("setuptools", "packaging 23.0 in setuptools")
    # Whose list nobody knows: it is of no package, and surely not of the one of its name.
    archive = write_archive(tmp_path / "y.tar.gz", own, vendored)
    (one,) = held_by(subject, locked, take_inventory(archive), archive)
    assert one.package is None


def test_what_is_deployed_is_of_no_lock() -> None:
    found = inventory(Package(name="beta"), files=files_at("lib/libssl.so.1.1"))
    assert [one.label() for one in held_in(read_subject("beta==1.0", None), found)] == ["beta 1.0"]
    (one,) = held_in(read_subject("openssl==1.1", None), found)
    assert (one.package, one.is_of_interpreter) == (None, True)


def test_what_changed_between_two_locks(tmp_path: Path) -> None:
    before = lock_of(tmp_path, wheel("alpha"), wheel("beta"))
    newer = replace(wheel("beta", "1.1"), sha256="4" * 64)
    assert list(changed_between(before, lock_of(tmp_path, wheel("alpha"), newer))) == ["beta"]
