from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from envbuilder.util.tempdirs import locked_folder, sweep


def test_a_locked_folder_is_gone_afterwards_and_its_lock_too(tmp_path: Path) -> None:
    with locked_folder(tmp_path, "x") as folder:
        (folder / "inside").touch()
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    assert list(tmp_path.iterdir()) == []
    sweep(tmp_path / "nowhere", "*")


def test_what_nobody_holds_is_swept(tmp_path: Path) -> None:
    (tmp_path / "x-left" / "inside").mkdir(parents=True)
    (tmp_path / "x-file").touch()
    (tmp_path / "other").mkdir()
    with locked_folder(tmp_path, "x") as held:
        sweep(tmp_path, "x-*")
        assert sorted(tmp_path.iterdir()) == sorted([held, tmp_path / "other"])


@pytest.mark.parametrize("before_it_is_opened", [True, False])
def test_one_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_it_is_opened: bool
) -> None:
    made: list[str] = []
    mkdtemp, flock = tempfile.mkdtemp, fcntl.flock

    def make(**options: object) -> str:
        made.append(mkdtemp(**options))  # type: ignore[call-overload]  # passed on as it came
        if before_it_is_opened and len(made) == 1:
            sweep(tmp_path, "*")
        return made[-1]

    def lock(descriptor: int, operation: int) -> None:
        if not before_it_is_opened and len(made) == 1 and not operation & fcntl.LOCK_NB:
            sweep(tmp_path, "*")
        flock(descriptor, operation)

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    monkeypatch.setattr(fcntl, "flock", lock)
    with locked_folder(tmp_path, "x") as folder:
        assert [str(folder)] == made[1:]
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
