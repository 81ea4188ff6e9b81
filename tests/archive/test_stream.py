from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from envbuilder.archive import stream as module
from envbuilder.archive.reader import StreamError
from envbuilder.archive.stream import (
    Compression,
    Positions,
    TarStream,
    most_unpacked,
    trailing_data,
    unsupported_format,
)
from envbuilder.progress import SILENT


def test_how_many_bytes_there_can_be() -> None:
    assert most_unpacked(1000, compressed=False) == 1000
    assert most_unpacked(1000, compressed=True) == 2**30
    assert most_unpacked(2**26, compressed=True) == 100 * 2**26


def test_formats_that_triton_does_not_read() -> None:
    assert unsupported_format(b"") == "it is empty"
    assert unsupported_format(b"\x1f\x8b") is None
    assert "zstd" in (unsupported_format(b"\x28\xb5\x2f\xfd") or "")


@pytest.mark.parametrize("kind", ["gzip", "none"])
def test_it_is_read_passed_over_and_hashed(kind: Compression, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    data = gzip.compress(content[:500_000]) + gzip.compress(content[500_000:]) if kind == "gzip" else content
    (tmp_path / "a").write_bytes(data)
    with TarStream(tmp_path / "a", kind, SILENT) as stream:
        assert stream.read(10) == content[:10]
        assert stream.skip(600_000) == 600_000
        assert stream.read(300) == content[600_010:600_310]
        assert stream.finish() == hashlib.sha256(data).hexdigest()


def test_what_came_before_the_damage_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(b"whole") + b"no gzip")
    with TarStream(tmp_path / "a", "gzip", SILENT) as stream:
        assert stream.read(100) == b"whole"
        with pytest.raises(StreamError, match="its gzip stream is damaged"):
            stream.read(1)


def test_a_stream_that_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(b"whole" * 1000)[:-9])
    with TarStream(tmp_path / "a", "gzip", SILENT) as stream:
        stream.skip(5000)
        with pytest.raises(EOFError, match="its gzip stream is incomplete"):
            stream.read(1)


def test_more_than_any_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATIO_FROM", 2**20)
    (tmp_path / "a").write_bytes(gzip.compress(bytes(2**22)))
    with TarStream(tmp_path / "a", "gzip", SILENT) as stream:
        assert stream.skip(2**22) < 2**22
        with pytest.raises(StreamError, match="it unpacks to more than 100 times its size"):
            stream.read(1)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (bytes(1024), None),
        (b"", "it is truncated: it ends after m, without a tar end marker"),
        (b"x", "there is no readable header after m"),
    ],
)
def test_what_follows_the_last_member(rest: bytes, said: str | None, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(rest)
    with TarStream(tmp_path / "a", "none", SILENT) as stream:
        assert trailing_data(stream, "m") == said


def test_which_bytes_of_the_archive_a_range_took() -> None:
    positions = Positions()
    positions.note(100, 10)
    positions.note(0, 12)  # the end of a gzip member
    positions.note(100, 32)
    assert positions.unpacked == 200
    assert [positions.packed(0, 100), positions.packed(100, 200), positions.packed(50, 150)] == [12, 20, 16]
