from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from envbuilder.util.files import atomic_write, file_sha256


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
