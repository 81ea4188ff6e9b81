from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from envbuilder.util.zips import BadZipError, read_member, zip_names


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "A")
        file.writestr("b.txt", "BB")
    return path


def test_names_and_the_first_member_that_is_wanted(packed: Path) -> None:
    assert zip_names(packed) == ["a.txt", "b.txt"]
    assert read_member(packed, lambda name: name.endswith(".txt"), most=1) == b"A"
    assert read_member(packed, lambda name: name == "c.txt", most=1) is None


def test_more_than_may_be(packed: Path) -> None:
    with pytest.raises(BadZipError, match=r"'b\.txt' in it is larger than 1 B"):
        read_member(packed, lambda name: name == "b.txt", most=1)


def test_what_is_no_zip_or_damaged(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "none.zip").write_bytes(b"no zip")
    with pytest.raises(BadZipError, match="not a zip"):
        zip_names(tmp_path / "none.zip")
    data = bytearray(packed.read_bytes())
    data[data.index(b"A", 30)] ^= 1
    packed.write_bytes(data)
    with pytest.raises(BadZipError, match="CRC"):
        read_member(packed, lambda name: name == "a.txt", most=9)
