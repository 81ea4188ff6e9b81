"""What a server takes along when it stops keeps its inodes, and gives its space back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from envbuilder.bench.inodes import kept_inodes


def test_inodes_stay_taken_and_space_is_given_back(tmp_path: Path) -> None:
    place, extracted = tmp_path / "place", tmp_path / "extracted"
    place.mkdir()
    (extracted / "lib").mkdir(parents=True)
    (extracted / "lib" / "one").write_bytes(b"x" * 10_000)
    (extracted / "two").symlink_to("lib/one")
    elsewhere = tmp_path / "elsewhere"
    os.link(extracted / "lib" / "one", elsewhere)
    (extracted / "three").write_bytes(b"y" * 10_000)
    numbers = {path.lstat().st_ino for path in extracted.rglob("*") if not path.is_dir()}
    with kept_inodes(place) as inodes:
        inodes.keep([extracted])
        shutil.rmtree(extracted)
        inodes.empty()
        (folder,) = place.iterdir()
        assert {path.lstat().st_ino for path in folder.iterdir()} == numbers
        assert sorted(path.stat().st_size for path in folder.iterdir() if not path.is_symlink()) == [
            0,
            10_000,
        ]
        assert elsewhere.read_bytes() == b"x" * 10_000  # somebody else's, too: left as it is
        inodes.empty()
    assert list(place.iterdir()) == []


def test_a_file_that_cannot_be_linked_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    (tmp_path / "extracted").mkdir()
    (tmp_path / "extracted" / "one").write_text("1")
    monkeypatch.setattr(os, "link", refuse)
    with kept_inodes(tmp_path) as inodes:
        inodes.keep([tmp_path / "extracted", tmp_path / "gone"])
        inodes.empty()
    assert (tmp_path / "extracted" / "one").read_text() == "1"
