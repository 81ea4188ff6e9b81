from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest

from envbuilder.archive.source import open_source
from envbuilder.progress import SILENT
from tests.helpers import tars

TAR = tars.file("a", b"1") + bytes(1024)


@pytest.mark.parametrize(
    ("data", "compression", "refused", "unreadable"),
    [
        (TAR, "none", None, None),
        (gzip.compress(TAR, mtime=0), "gzip", None, None),
        (bz2.compress(TAR), "bzip2", "compressed by bzip2", None),
        (b"\x04\x22\x4d\x18", "none", "compressed by lz4", "compressed by lz4"),
        (b"", "none", "it is empty", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "none", "a Git LFS pointer", "a Git LFS pointer"),
        (b"\n<!doctype  HTML>\n<html>", "none", "an HTML page", "an HTML page"),
    ],
    ids=["tar", "gzip", "bzip2", "lz4", "empty", "pointer", "page"],
)
def test_what_the_first_bytes_say(
    data: bytes, compression: str, refused: str | None, unreadable: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    source = open_source(path)
    assert (source.size, source.compression) == (len(data), compression)
    assert (refused or "") in (source.refused or "")
    assert (unreadable or "") in (source.unreadable or "")
    assert (source.refused is None, source.unreadable is None) == (refused is None, unreadable is None)
    if unreadable is None:
        with source.stream(SILENT) as stream:
            assert stream.read(len(TAR) + 1) == TAR


def test_a_folder_is_the_tar_that_it_would_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    source = open_source(tmp_path)
    assert (source.size, source.compression, source.refused) == (0, "folder", None)
