from __future__ import annotations

import bz2
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from envbuilder.archive.reader import StreamError
from envbuilder.archive.unpack import Other, tar_of_folder, unpacked

CONTENT = b"a tar" * 1000


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("bzip2", bz2.compress(CONTENT[:9]) + bz2.compress(CONTENT[9:])),
        ("xz", lzma.compress(CONTENT[:9]) + bytes(4) + lzma.compress(CONTENT[9:])),
        ("zstd", zstandard.compress(CONTENT)),
    ],
)
def test_streams_one_after_the_other(kind: Other, data: bytes) -> None:
    assert b"".join(unpacked(kind, Path("a"), io.BytesIO(data))) == CONTENT
    with pytest.raises(StreamError, match="damaged"):
        list(unpacked(kind, Path("a"), io.BytesIO(data[:4] + b"?" * 40)))


def test_a_stream_without_an_end() -> None:
    with pytest.raises(StreamError, match="truncated: its bzip2 stream is incomplete"):
        list(unpacked("bzip2", Path("a"), io.BytesIO(bz2.compress(CONTENT)[:-5])))


def test_a_zip_becomes_a_tar() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("d/", "")
        file.writestr("d/a", "A")
        link = zipfile.ZipInfo("l")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "d/a")
    data = b"".join(unpacked("zip", Path("a"), packed))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = [(one.name, one.type, one.size, one.linkname) for one in tar]
    assert found == [
        ("d", tarfile.DIRTYPE, 0, ""),
        ("d/a", tarfile.REGTYPE, 1, ""),
        ("l", tarfile.SYMTYPE, 0, "d/a"),
    ]


def test_a_folder_gives_the_same_tar_each_time(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_bytes(b"1" * 700)
    (tmp_path / "a").symlink_to("b/file")
    os.mkfifo(tmp_path / "pipe")
    data = b"".join(tar_of_folder(tmp_path))
    assert data == b"".join(tar_of_folder(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(one.name, one.size, one.linkname) for one in tar] == [
            ("a", 0, "b/file"),
            ("b", 0, ""),
            ("b/file", 700, ""),
        ]
