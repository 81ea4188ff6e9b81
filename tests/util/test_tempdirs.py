from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from envbuilder.util.tempdirs import (
    draft_folder,
    lasting_folder,
    locked_folder,
    output_folder,
    remove_stale,
    temporary_folder,
    temporary_name,
)


def test_a_locked_folder_is_gone_afterwards_and_its_lock_too(tmp_path: Path) -> None:
    with locked_folder(tmp_path, "x") as folder:
        assert re.fullmatch("x-[0-9a-f]{16}", folder.name)
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inside").touch()
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    assert list(tmp_path.iterdir()) == []
    remove_stale(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_removed_all_the_same() -> None:
    # Root may write anywhere.
    code = (
        "import os, sys; from pathlib import Path; from envbuilder.util.tempdirs import locked_folder\n"
        "os.geteuid() or (os.setgid(65534), os.setuid(65534))\n"
        "with locked_folder(Path(sys.argv[1]), 'x') as folder:\n"
        "    (folder / 'a' / 'b').mkdir(parents=True); (folder / 'a' / 'b' / 'c').touch()\n"
        "    (folder / 'a' / 'b').chmod(0o500); (folder / 'a').chmod(0)\n"
    )
    with tempfile.TemporaryDirectory() as name:  # pytest's own are its user's alone
        Path(name).chmod(0o777)
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert list(Path(name).iterdir()) == []


def test_a_folder_of_any_depth_is_removed(tmp_path: Path) -> None:
    with locked_folder(tmp_path, "x") as folder:
        here = os.open(folder, os.O_RDONLY)
        (folder / "file").touch()
        (folder / "link").symlink_to(tmp_path)
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_holds_is_swept_and_only_what_has_such_a_name(tmp_path: Path) -> None:
    left = tmp_path / temporary_name("x")
    (left / "inside").mkdir(parents=True)
    (tmp_path / temporary_name("x")).touch()
    os.mkfifo(tmp_path / temporary_name("x"))
    (tmp_path / temporary_name("x")).symlink_to(tmp_path)
    others = [tmp_path / name for name in (temporary_name("y"), "x-settings", "x", "x-0123456789abcdeg")]
    for other in others:
        other.mkdir()
    link = next(path for path in tmp_path.iterdir() if path.is_symlink())
    with locked_folder(tmp_path, "x") as held:
        remove_stale(tmp_path, "x-")
        assert sorted(tmp_path.iterdir()) == sorted([held, link, *others])
        remove_stale(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([held, link, *others[1:]])


def test_another_user_s_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / temporary_name("x")
    theirs.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
    remove_stale(tmp_path)
    assert theirs.is_dir()


@pytest.mark.parametrize("before_it_is_opened", [True, False])
def test_one_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_it_is_opened: bool
) -> None:
    made: list[Path] = []
    mkdir, flock = Path.mkdir, fcntl.flock

    def make(path: Path, mode: int) -> None:
        mkdir(path, mode)
        made.append(path)
        if before_it_is_opened and len(made) == 1:
            remove_stale(tmp_path)

    def lock(descriptor: int, operation: int) -> None:
        if not before_it_is_opened and len(made) == 1 and not operation & fcntl.LOCK_NB:
            remove_stale(tmp_path)
        flock(descriptor, operation)

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(fcntl, "flock", lock)
    with locked_folder(tmp_path, "x") as folder:
        assert [folder] == made[1:]
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_draft_folder_is_hidden_and_sweeps_its_like(tmp_path: Path) -> None:
    (tmp_path / temporary_name(".envbuilder-other")).mkdir()
    theirs = tmp_path / temporary_name(".other")
    theirs.mkdir()
    with draft_folder(tmp_path, "mine") as folder:
        assert folder.name.startswith(".envbuilder-mine-")
        assert sorted(tmp_path.iterdir()) == sorted([folder, theirs])


def test_temporary_folders_lie_where_the_system_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("doctor") as folder:
        assert folder.parent == tmp_path
    code = (
        "from envbuilder.util.tempdirs import lasting_folder, remove_stale; from pathlib import Path\n"
        "folder = lasting_folder('overflow'); remove_stale(folder.parent); assert folder.is_dir(); print(folder)"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert lasting_folder("overflow").is_dir()


def test_an_output_folder_stays_where_something_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / temporary_name(".envbuilder-left")).mkdir(parents=True)
    with output_folder(tmp_path / "a" / "b") as folder:
        (folder / "result").touch()
    with pytest.raises(ValueError, match="no result"), output_folder(tmp_path / "a" / "b" / "c"):
        raise ValueError("no result")
    assert [path.name for path in folder.iterdir()] == ["result"]
    with pytest.raises(ValueError, match="no result"), output_folder(tmp_path / "d" / "e"):
        raise ValueError("no result")
    with pytest.raises(NotADirectoryError), output_folder(tmp_path / "f" / "g"):
        make_result_and_fail(tmp_path / "f" / "first")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "f", "first", "result"]


def make_result_and_fail(path: Path) -> None:
    path.touch()
    os.stat(path / "x")


def test_an_output_folder_that_was_there_stays_empty_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no result"), output_folder(tmp_path):
        raise ValueError("no result")
    assert tmp_path.is_dir()


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), output_folder(tmp_path / "file" / "x"):
        raise AssertionError("not reached")
