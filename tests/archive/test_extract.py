"""Reading an archive: as tarfile and GNU tar read it, and in bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from envbuilder.archive.extract import extract


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_000_000_000, 0o640
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def read(data: bytes, folder: Path) -> dict[str, bytes]:
    """Extract the archive *data*; return what lies in the folder."""
    archive = folder / "archive"
    archive.write_bytes(data)
    into = folder / "into"
    into.mkdir()
    contents = extract(archive, into)
    assert contents.damage is None
    assert contents.sha256 == hashlib.sha256(data).hexdigest()
    assert contents.size == len(data)
    found = {str(p.relative_to(into)): p.read_bytes() for p in into.rglob("*") if p.is_file()}
    assert {path: member.sha256 for path, member in contents.members.items()} == {
        path: hashlib.sha256(content).hexdigest() for path, content in found.items()
    }
    return found


FILES = {"a": b"1" * 3_000_000, "b/c": random.Random(0).randbytes(700_000), "b/empty": b""}


@pytest.mark.parametrize("cut", [1, 100, 512, 65_536, 10_000_000])
def test_any_number_of_gzip_members(tmp_path: Path, cut: int) -> None:
    data = tar(FILES) if cut > 100 else tar({"a": b"1" * 300, "b/c": b"2"})
    members = b"".join(gzip.compress(data[at : at + cut]) for at in range(0, len(data), cut))
    expected = FILES if cut > 100 else {"a": b"1" * 300, "b/c": b"2"}
    assert read(members, tmp_path) == expected


def test_a_plain_tar(tmp_path: Path) -> None:
    assert read(tar(FILES), tmp_path) == FILES


def test_padding_after_the_last_member(tmp_path: Path) -> None:
    assert read(gzip.compress(tar(FILES)) + bytes(5000), tmp_path) == FILES


def test_names_that_are_long_or_not_ascii(tmp_path: Path) -> None:
    files = {"x/" + "long/" * 60 + "name": b"1", "naïve/ü": b"2", "./dot": b"3"}
    assert set(read(gzip.compress(tar(files)), tmp_path)) == {"x/" + "long/" * 60 + "name", "naïve/ü", "dot"}


def test_modes_and_times(tmp_path: Path) -> None:
    read(tar({"a": b"1"}), tmp_path)
    status = (tmp_path / "into" / "a").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1_000_000_000)
    assert status.st_uid == os.getuid()


def test_a_small_archive_that_holds_a_huge_file_takes_little_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("zeros")
    header.size = 400 * 2**20
    with gzip.open(tmp_path / "bomb", "wb", compresslevel=1) as file:
        file.write(header.tobuf())
        for _ in range(400):
            file.write(bytes(2**20))
        file.write(bytes(1024))
    (tmp_path / "into").mkdir()
    tracemalloc.start()
    contents = extract(tmp_path / "bomb", tmp_path / "into")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (tmp_path / "into" / "zeros").unlink()
    assert contents.damage is None
    assert contents.unpacked_size == 400 * 2**20
    assert most < 100 * 2**20
