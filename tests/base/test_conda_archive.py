"""Conda packages of both kinds, read to their end before anything of them is installed."""

from __future__ import annotations

import bz2
import dataclasses
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from envbuilder.base.conda_archive import read_conda_archive
from tests.helpers import tars
from tests.helpers.channels import Cut, Link, write_package
from tests.helpers.conda_parts import greeting_cut

SUFFIXES = (".conda", ".tar.bz2")
SITE = "lib/python3.11/site-packages"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_members_and_links(tmp_path: Path, suffix: str) -> None:
    cut = Cut(
        name="demo",
        files={
            "share/x": b"x",
            "share/link": Link("x"),
            f"{SITE}/demo-1.0.dist-info/METADATA": b"Name: demo\n",
            f"{SITE}/old-1.0.egg-info/PKG-INFO": b"Name: old\n",
            f"{SITE}/single-1.0.egg-info": b"Name: single\n",
            f"{SITE}/demo/METADATA": b"no project\n",
        },
    )
    found = read_conda_archive(write_package(tmp_path, cut, suffix))
    assert sorted(found.members) == sorted(cut.files)
    assert found.links == {"share/link": "x"}
    assert sorted(found.info) == ["info/files", "info/has_prefix", "info/index.json", "info/paths.json"]
    assert found.info["info/index.json"].startswith(b'{"name": "demo"')
    assert found.metadata == {
        path: cut.files[path]
        for path in cut.files
        if path.endswith(("METADATA", "INFO", ".egg-info")) and "/demo/" not in path
    }


def test_of_a_python_package_for_any_python(tmp_path: Path) -> None:
    found = read_conda_archive(write_package(tmp_path, greeting_cut()))
    assert "info/link.json" in found.info
    assert list(found.metadata) == ["site-packages/greeting-1.0.dist-info/METADATA"]


def old_kind(folder: Path, *parts: bytes) -> Path:
    path = folder / "demo-1.0-0.tar.bz2"
    path.write_bytes(bz2.compress(b"".join((*parts, tars.END))))
    return path


def test_both_names_of_a_hard_link_count(tmp_path: Path) -> None:
    path = old_kind(
        tmp_path,
        tars.file("./share/x", b"x"),
        tars.header("share/y", kind=tarfile.LNKTYPE, link="./share/x"),
        tars.header("share/", kind=tarfile.DIRTYPE),
    )
    assert read_conda_archive(path).members == ["share/x", "share/y", "share/x"]


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_neither_a_file_nor_a_link_is_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ValueError, match=r"^'dev/x' in it is neither a file nor a link$"):
        read_conda_archive(old_kind(tmp_path, tars.header("dev/x", kind=kind)))


# -- damage and lies -------------------------------------------------------------------------------


def new_kind(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return path


def packed(data: bytes = tars.END) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


GOOD = {"info-demo-1.0-0.tar.zst": packed(), "pkg-demo-1.0-0.tar.zst": packed()}


def test_a_package_of_two_empty_parts(tmp_path: Path) -> None:
    found = read_conda_archive(new_kind(tmp_path / "demo-1.0-0.conda", GOOD))
    assert (found.members, found.info) == ([], {})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"info-x.tar.zst": packed()}, "one pkg-….tar.zst expected in it, found 0"),
        ({"pkg-x.tar.zst": packed()}, "one info-….tar.zst expected in it, found 0"),
        ({**GOOD, "pkg-y.tar.zst": packed()}, "one pkg-….tar.zst expected in it, found 2"),
        ({**GOOD, "pkg-demo-1.0-0.tar.zst": b"no zstd"}, "it is damaged: "),
        ({**GOOD, "pkg-demo-1.0-0.tar.zst": packed(b"no tar" * 200)}, "header"),
    ],
)
def test_parts_that_are_missing_twice_there_or_damaged(
    tmp_path: Path, parts: dict[str, bytes], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        read_conda_archive(new_kind(tmp_path / "demo-1.0-0.conda", parts))


def test_a_part_that_is_compressed_twice(tmp_path: Path) -> None:
    path = new_kind(tmp_path / "demo-1.0-0.conda", GOOD, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"^info-demo-1\.0-0\.tar\.zst in it is compressed twice$"):
        read_conda_archive(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: bytes(len(data))],
    ids=["cut off", "empty", "zeros"],
)
def test_a_damaged_package(tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    noise = dataclasses.replace(greeting_cut(), files={"share/noise": os.urandom(5000)})
    path = write_package(tmp_path, noise, suffix)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"."):
        read_conda_archive(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "demo-1.0-0.conda")
    for name in ("demo-1.0-0.conda", "gone-1.0-0.conda", "gone-1.0-0.tar.bz2"):
        with pytest.raises(OSError, match=name):
            read_conda_archive(tmp_path / name)
