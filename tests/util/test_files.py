from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from envbuilder.util.files import NotRegularError, atomic_write, file_sha256, has_bytes, read_ends


def test_hash_of_a_file(tmp_path: Path) -> None:
    data = b"some bytes" * 300_000
    (tmp_path / "x").write_bytes(data)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    atomic_write(path, b"before")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            atomic_write(path, b"after")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("x", b"before")]
    atomic_write(path, b"after")
    assert path.read_bytes() == b"after"


def test_a_file_keeps_its_mode_and_a_link_s_end_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"before")
    (tmp_path / "x").chmod(0o640)
    (tmp_path / "link").symlink_to("x")
    atomic_write(tmp_path / "link", b"linked")
    assert ((tmp_path / "x").read_bytes(), (tmp_path / "link").is_symlink()) == (b"before", False)
    atomic_write(tmp_path / "x", b"after")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_what_has_another_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(2**43)  # 8 TB, of which none is on the disk
    assert not has_bytes(path, b"text")
    path.write_bytes(b"text")
    assert has_bytes(path, b"text")
    assert not has_bytes(path, b"next")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotRegularError):
        has_bytes(tmp_path / "fifo", b"text")


def test_of_a_long_log_both_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\nsecond\n")
    assert read_ends(path, 100) == "first\nsecond\n"
    with path.open("r+b") as file:
        file.seek(2**43)
        file.write(b"last\n")
    text = read_ends(path, 100)
    assert (text.startswith("first\nsecond\n"), text.endswith("last\n"), len(text)) == (True, True, 201)
