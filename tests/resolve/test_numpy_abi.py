"""Wheels that are built for another NumPy than the one that is chosen: the solver is kept from them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.pylock import Package, PackageWheel
from packaging.utils import canonicalize_name
from packaging.version import Version

from envbuilder.errors import ResolveError
from envbuilder.resolve.numpy_abi import find_clashes, read_wheel
from envbuilder.resolve.target import Target
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.indexes import Notes, Sources, lock, versions, write_recipe

TARGET = Target(python="3.11.7", glibc="2.35")
BOTH = b"\0numpy._core._multiarray_umath\0numpy.core._multiarray_umath\0"
OLD = b"\0numpy.core._multiarray_umath\0"
FOR_2 = BOTH + b"module was compiled against NumPy C-API version 0x%x (NumPy 2.0) but the running"
FOR_1 = BOTH + b"module was compiled against NumPy C-API version 0x%x (NumPy 1.23) but the running"


def wheel(
    folder: Path,
    name: str,
    modules: Sequence[bytes],
    *,
    version: str = "1.0",
    requires: str | None = None,
    uploaded: int = 2026,
    tag: str = "cp311-cp311-manylinux_2_28_x86_64",
) -> Package:
    """A package of the solver's answer, with one wheel that lies in *folder*."""
    path = folder / f"{name}-{version}-{tag}.whl"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    text += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as archive:
        for number, module in enumerate(modules):
            archive.writestr(f"{name}/m{number}.cpython-311-x86_64-linux-gnu.so", module)
        archive.writestr(f"{name}/lib{name}.so.1.2", b"")
        archive.writestr(f"{name}-{version}.dist-info/METADATA", text + "\nWorks with NumPy.\n")
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    data = path.read_bytes()
    return Package(
        name=canonicalize_name(name),
        version=Version(version),
        wheels=[
            PackageWheel(
                name=path.name,
                path=str(path),
                size=len(data),
                upload_time=datetime.datetime(uploaded, 1, 1, tzinfo=datetime.timezone.utc),
                hashes={"sha256": hashlib.sha256(data).hexdigest()},
            )
        ],
    )


def clashes(packages: list[Package], numpy: str, folder: Path) -> list[str]:
    session = Session(store=Store(root=folder / "store"))
    found = find_clashes(packages, numpy, TARGET, session)
    # Remembered: where the wheels are gone it is the same.
    for package in packages:
        for one in package.wheels or ():
            Path(one.path or "").unlink()
    assert find_clashes(packages, numpy, TARGET, session) == found
    return [f"{one.name} {one.version} for {one.needs}: {one.constraint}" for one in found]


@pytest.mark.parametrize(
    ("modules", "requires", "numpy", "clash"),
    [
        ([FOR_2], None, "1.26.4", "pkg 1.0 for NumPy 2.0 or newer: pkg<1.0"),
        ([FOR_2], None, "2.1.0", None),
        ([FOR_1], None, "1.26.4", None),
        ([FOR_1], None, "1.22.0", "pkg 1.0 for NumPy 1.23 or newer: pkg<1.0"),
        ([FOR_2, FOR_1], None, "1.26.4", None),  # it may go on without one of them, as blosc2 does
        ([FOR_2, b""], None, "1.26.4", "pkg 1.0 for NumPy 2.0 or newer: pkg<1.0"),
        ([b""], None, "1.26.4", None),
        ([FOR_2], "numpy>=1.26", "1.26.4", None),  # its metadata says so
        ([FOR_2], 'numpy>=1.26; extra == "test"', "1.26.4", "pkg 1.0 for NumPy 2.0 or newer: pkg<1.0"),
    ],
)
def test_wheels_that_do_not_require_the_numpy_that_they_use(
    tmp_path: Path, modules: list[bytes], requires: str | None, numpy: str, clash: str | None
) -> None:
    packages = [wheel(tmp_path, "pkg", modules, requires=requires)]
    assert clashes(packages, numpy, tmp_path) == ([] if clash is None else [clash])


@pytest.mark.parametrize(
    ("modules", "uploaded", "clash"),
    [
        ([OLD], 2023, "pkg 1.0 for NumPy 1: numpy<2"),
        ([OLD], 2026, None),  # whoever uploads now knows of NumPy 2
        ([OLD, BOTH], 2023, None),
        ([b""], 2023, None),
    ],
)
def test_wheels_from_before_there_was_a_numpy_2(
    tmp_path: Path, modules: list[bytes], uploaded: int, clash: str | None
) -> None:
    packages = [wheel(tmp_path, "pkg", modules, requires="numpy>=1.21", uploaded=uploaded)]
    assert clashes(packages, "2.3.1", tmp_path) == ([] if clash is None else [clash])


def test_what_is_not_read(tmp_path: Path) -> None:
    packages = [
        wheel(tmp_path, "pure", [FOR_2], tag="py3-none-any"),
        wheel(tmp_path, "torch", [FOR_2]),
        wheel(tmp_path, "numpy", [FOR_2], version="1.26.4"),
    ]
    assert clashes(packages, "1.26.4", tmp_path) == []
    session = Session(store=Store(root=tmp_path / "store"))
    assert find_clashes([wheel(tmp_path, "pkg", [FOR_2])], None, TARGET, session) == []


def test_a_wheel_that_cannot_be_read_is_taken_to_be_right(tmp_path: Path) -> None:
    package = wheel(tmp_path, "pkg", [FOR_2])
    assert package.wheels is not None
    Path(package.wheels[0].path or "").write_bytes(b"no zip")
    assert find_clashes([package], "1.26.4", TARGET, Session(store=Store(root=tmp_path / "store"))) == []


def test_metadata_of_a_local_wheel_that_is_huge(tmp_path: Path) -> None:
    """It is read up to the limit and not further; what the wheel needs is then told by its modules."""
    says_so = "numpy>=1.26\n"
    assert clashes([wheel(tmp_path, "pkg", [FOR_2], requires=says_so)], "1.26.4", tmp_path) == []
    huge = wheel(tmp_path, "pkg", [FOR_2], requires=says_so + "x" * 9 * 2**20)
    assert clashes([huge], "1.26.4", tmp_path) == ["pkg 1.0 for NumPy 2.0 or newer: pkg<1.0"]


def test_a_private_copy_of_a_library_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg.libs/libx.so.1", FOR_2)
    assert read_wheel(path).floor is None


# -- the solver ------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A wheelhouse with a package whose newest version is built for NumPy 2, and says nothing of it."""
    folder = tmp_path / "house"
    folder.mkdir()
    for version, module in (("24.0", FOR_1), ("25.0", FOR_1), ("26.0", FOR_2), ("26.1", FOR_2)):
        wheel(folder, "arrow", [module], version=version)
    return folder


def test_an_older_version_is_taken(tmp_path: Path, sources: Sources, store: Store, house: Path) -> None:
    notes = Notes()
    settings = sources.settings(find_links=(str(house),))
    locked = lock(write_recipe(tmp_path, "arrow"), settings, store, reporter=notes)
    assert versions(locked)["numpy"] == "1.26.4"
    assert versions(locked)["arrow"] == "25.0"
    assert notes.notes == [
        f"arrow {version} is built for NumPy 2.0 or newer: solving again with arrow<{version}"
        for version in ("26.1", "26.0")
    ]


def test_a_version_that_is_pinned_is_refused(
    tmp_path: Path, sources: Sources, store: Store, house: Path
) -> None:
    with pytest.raises(ResolveError) as caught:
        lock(write_recipe(tmp_path, "arrow==26.1"), sources.settings(find_links=(str(house),)), store)
    assert caught.value.message.startswith(
        "recipe mine: arrow 26.1 is built for NumPy 2.0 or newer, Triton pytriton-0.7.0 demands numpy<2, and no "
        "other version fits:\n"
    )
    assert caught.value.hint == "allow an older arrow, or target release 24.11 or later"
    # Following it: an older one is allowed.
    recipe = write_recipe(tmp_path, "arrow")
    locked = lock(recipe, sources.settings(find_links=(str(house),)), store)
    assert versions(locked)["arrow"] == "25.0"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_whatever_a_wheel_is_it_is_passed_over(tmp_path: Path, data: bytes) -> None:
    package = wheel(tmp_path, "pkg", [FOR_2])
    assert package.wheels is not None
    whole = Path(package.wheels[0].path or "").read_bytes()
    name = "pkg-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    hashes = {"sha256": hashlib.sha256(data).hexdigest()}
    broken = [PackageWheel(name=name, path=str(tmp_path / "broken"), hashes=hashes)]
    (tmp_path / "broken").write_bytes(whole[: len(data)] + data)
    found = find_clashes(
        [dataclasses.replace(package, wheels=broken)],
        "1.26.4",
        TARGET,
        Session(store=Store(root=tmp_path / "store")),
    )
    assert found == []
