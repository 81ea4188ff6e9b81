from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envbuilder.util import watchdog


def test_a_tree_is_removed_whatever_its_modes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").touch()
    (tree / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tree / "inner").chmod(0o500)
    watchdog.remove(tree)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    watchdog.remove(tree)  # not there: nothing to do


def test_a_folder_that_becomes_a_link_while_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "inner").mkdir(parents=True)
    other.mkdir(mode=0o755)
    (other / "precious").touch()

    def fail(path: object) -> None:
        raise OSError(39, "Directory not empty")

    def exchanged(path: str) -> str:
        if path == str(tree / "inner"):
            (tree / "inner").rmdir()
            (tree / "inner").symlink_to(other)
        return path

    opened = os.open
    monkeypatch.setattr("shutil.rmtree", fail)
    monkeypatch.setattr(os, "open", lambda path, *rest, **named: opened(exchanged(path), *rest, **named))
    watchdog.remove(tree)
    assert (other / "precious").exists()
    assert other.stat().st_mode & 0o777 == 0o755


def test_a_session_is_killed_with_all_its_processes() -> None:
    process = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo started; wait"], start_new_session=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    watchdog.kill_sessions([process.pid])
    assert process.wait(timeout=10) == -9
    assert process.stdout.read() == b"", "the sleeping child held the pipe open"
    process.stdout.close()


def test_what_a_killed_process_registered_is_killed_with_it() -> None:
    code = (
        "import subprocess, sys, time; from envbuilder.util import leftovers;"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=sys.stdout);"
        "leftovers.note_session(child.pid); print(child.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    os.kill(process.pid, 9)
    process.wait(timeout=10)
    assert process.stdout.read() == b"", "its child holds the pipe until it is dead"
    process.stdout.close()
    assert not Path(f"/proc/{child}/exe").exists()
