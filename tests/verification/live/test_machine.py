from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.verification.live.machine import machine_digest, stamp


def test_a_machine_is_the_same_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_digest()
    monkeypatch.setenv("OF_NO_MATTER", "1")
    assert machine_digest() == before
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert machine_digest() != before


def test_a_file_that_was_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    before = stamp(path)
    os.utime(path, ns=(0, 0))
    assert stamp(path) != before
    with pytest.raises(FileNotFoundError):
        stamp(tmp_path / "gone")
