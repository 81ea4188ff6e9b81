from __future__ import annotations

import json
from pathlib import Path

import pytest

from envbuilder.archive import disk_space
from envbuilder.archive.disk_space import DiskRoom
from envbuilder.errors import VerifyError

MIB = 2**20


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of 100 MiB unpacked, by the manifest beside it, on a disk with 264 MiB free."""
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: 264 * MIB)
    (tmp_path / "a.json").write_text(json.dumps({"unpacked_size": 100 * MIB}))
    return tmp_path / "a.tar.gz"


def test_what_the_manifest_says_is_there(archive: Path) -> None:
    DiskRoom(archive, archive.parent).take(100 * MIB, "a")


def test_more_than_the_manifest_says_is_refused(archive: Path) -> None:
    room = DiskRoom(archive, archive.parent)
    room.take(100 * MIB, "a")
    with pytest.raises(ValueError, match=r"exceeds the unpacked size in its manifest, 104\.9 MB"):
        room.take(65 * MIB, "b")


def test_what_the_disk_has_not_is_told_before_and_while_it_is_read(archive: Path) -> None:
    manifest = archive.with_name("a.json")
    manifest.write_text(json.dumps({"unpacked_size": 300 * MIB}))
    with pytest.raises(
        VerifyError, match=r"^a\.tar\.gz takes 314\.6 MB unpacked, and 209\.7 MB can be written"
    ):
        DiskRoom(archive, archive.parent)
    manifest.unlink()
    room = DiskRoom(archive, archive.parent)
    with pytest.raises(VerifyError, match=r"^up to 'lib/b' it takes 314\.6 MB") as caught:
        room.take(300 * MIB, "lib/b")
    assert caught.value.hint is not None
    assert "ENVBUILDER_CACHE" in caught.value.hint
