"""Folders of a disk, one beside the other or spread."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from envbuilder.store.local import Store
from envbuilder.util.spread import spread_folders


def attributes(folder: Path) -> str:
    """As ``lsattr`` shows them; e2fsprogs are on every Debian."""
    done = subprocess.run(["lsattr", "-d", folder], stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.partition(" ")[0]


def test_what_is_made_in_a_store_is_spread(tmp_path: Path) -> None:
    with Store(root=tmp_path / "store").scratch("draft") as folder:
        ext4 = "e" in attributes(folder)
        assert ("T" in attributes(folder.parent)) == ext4
        assert "T" not in attributes(folder), "its own folders belong together"


def test_another_file_system_and_no_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(25, "Inappropriate ioctl for device")

    opened = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    spread_folders(tmp_path)
    spread_folders(tmp_path / "nothing")
    assert len(os.listdir("/proc/self/fd")) == opened
