from __future__ import annotations

import io
import random

import pytest

from envbuilder.archive import zipdir
from envbuilder.archive.member_file import MemberFile
from tests.archive.conftest import Open
from tests.helpers.wheels import Zipped, zip_bytes


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("scanned", [True, False])
def test_a_member_is_read_anywhere(
    opened: Open, monkeypatch: pytest.MonkeyPatch, method: int, scanned: bool
) -> None:
    monkeypatch.setattr(zipdir, "MARK_EVERY", 50_000)  # so that a small file has many windows
    noise = random.Random(3)
    data = noise.randbytes(400_000) + bytes(400_000) + noise.randbytes(100_000)
    zip_ = opened(zip_bytes([Zipped(name="big", data=data, method=method)]))
    file = MemberFile(zip_, zip_.members["big"])
    if scanned:
        assert b"".join(file.scan()) == data
    reader = io.BufferedReader(file)
    assert reader.readable()
    assert reader.seekable()
    for _ in range(60):
        place, size = noise.randrange(len(data) + 10), noise.randrange(1, 60_000)
        reader.seek(place)
        assert reader.read(size) == data[place : place + size]
    assert reader.seek(-5, io.SEEK_END) == len(data) - 5
    assert reader.read() == data[-5:]
    assert reader.read() == b""
    reader.seek(10)
    reader.seek(5, io.SEEK_CUR)
    assert reader.read(3) == data[15:18]
    assert file.readinto(bytearray()) == 0
