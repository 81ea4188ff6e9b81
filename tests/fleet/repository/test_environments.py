from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.fleet.repository import environments
from envbuilder.fleet.repository.environments import Inventories, disk_size, inventory_at, inventory_said
from tests.helpers.inventories import Package, files_at, manifest_of, texts_of, write_archive


def test_a_copy_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "x.tar.gz", Package(name="beta"))
    copy = tmp_path / "copy.tar.gz"
    shutil.copy(archive, copy)
    read: list[Path] = []

    def counted(place: Path) -> object:
        read.append(place)
        return inventory_at(place)

    monkeypatch.setattr(environments, "inventory_at", counted)
    known = Inventories()
    assert known.of(archive) is known.of(copy)
    (tmp_path / "torn.tar.gz").write_bytes(archive.read_bytes()[:-100])
    for _ in range(2):
        with pytest.raises(IntegrityError):
            known.of(tmp_path / "torn.tar.gz")
    assert [path.name for path in read] == ["x.tar.gz", "torn.tar.gz"]
    with pytest.raises(IntegrityError, match="cannot be read"):
        known.of(tmp_path / "gone")


def test_an_unpacked_environment(tmp_path: Path) -> None:
    for path, content in texts_of(Package(name="beta")).files.items():
        (tmp_path / "env" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "env" / path).write_bytes(content)
    names = [one.name for one in Inventories().of(tmp_path / "env").components]
    assert names == ["cpython", "beta"]


def test_a_manifest_alone_names_packages_and_libraries() -> None:
    manifest = manifest_of(Package(name="beta"), files=files_at("lib/libssl.so.1.1"))
    found = inventory_said(manifest, "a" * 64, "small-aaaaaaaaaaaa")
    assert [(one.name, one.version) for one in found.components] == [
        ("cpython", "3.11.7"),
        ("beta", "1.0"),
        ("openssl", "1.1"),
    ]


def test_a_file_with_two_names_takes_its_bytes_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.link(tmp_path / "a", tmp_path / "b")
    assert (disk_size(tmp_path), disk_size(tmp_path / "a"), disk_size(tmp_path / "gone")) == (5, 5, 0)
