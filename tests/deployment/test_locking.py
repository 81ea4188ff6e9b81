from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.locking import STAGED, locked, locked_all, remove_tree
from envbuilder.errors import DeployError
from envbuilder.progress import SILENT
from tests.deployment.conftest import refused
from tests.deployment.test_layout import Listener
from tests.helpers.notes import Notes

PATIENCE = 30.0
"""Seconds after which two who wait for each other are taken to wait for ever."""


def test_it_leaves_no_empty_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b", SILENT):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []
    with locked(tmp_path / "a" / "b", SILENT):
        (tmp_path / "a" / "b" / "c").touch()
    assert os.listdir(tmp_path / "a" / "b") == ["c"]


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a" / "b", SILENT):
        pass
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == []


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeployError) as caught, locked(tmp_path / "file" / "b", SILENT):
        pass
    assert caught.value.message == f"{tmp_path / 'file' / 'b'} cannot be used as a folder: Not a directory"
    with pytest.raises(DeployError), locked(tmp_path / "new" / ("x" * 300), SILENT):
        pass
    assert os.listdir(tmp_path) == ["file"]


def test_who_waits_for_a_folder_that_goes_makes_it_anew(tmp_path: Path) -> None:
    """The first made it for nothing and removes it; the second must not hold what is no longer there."""
    folder, listener = tmp_path / "folder", Listener()
    held, done = threading.Event(), threading.Event()

    def second() -> None:
        with locked(folder, listener):
            (folder / "mine").touch()
            held.set()

    thread = threading.Thread(target=second)
    with locked(folder, SILENT):
        thread.start()
        while not listener.notes and thread.is_alive():
            done.wait(0.01)
        assert not held.is_set()
    thread.join(PATIENCE)
    assert held.is_set()
    assert os.listdir(folder) == ["mine"]


def test_two_who_want_the_same_folders_never_wait_for_each_other(tmp_path: Path) -> None:
    """Each names them in another order, one of them through a link."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    count = 0

    def hold(*folders: Path) -> None:
        nonlocal count
        for _ in range(200):
            with locked_all(dict.fromkeys(folders, fcntl.LOCK_EX), SILENT):
                now = count
                threading.Event().wait(0)
                count = now + 1

    threads = [
        threading.Thread(target=hold, args=folders, daemon=True)
        for folders in ((tmp_path / "a", tmp_path / "b"), (tmp_path / "b", tmp_path / "link"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert count == 400


def test_one_folder_by_two_paths_is_held_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    wanted = {tmp_path / "link": fcntl.LOCK_SH, tmp_path / "a": fcntl.LOCK_EX}
    with locked_all(wanted, SILENT):
        handle = os.open(tmp_path / "a", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(handle)


def test_readers_do_not_wait_for_each_other_and_make_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    reading = {tmp_path / "a": fcntl.LOCK_SH, tmp_path / "none": fcntl.LOCK_SH}
    with locked_all(reading, SILENT), locked_all(reading, SILENT):
        assert os.listdir(tmp_path) == ["a"]


def test_read_only_folders_can_be_removed(tmp_path: Path) -> None:
    """For root that is no difference: see test_users."""
    folder = tmp_path / "a"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "file").touch()
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "kept").touch()
    for path in (folder / "b" / "c", folder / "b", folder):
        path.chmod(0o500)
    remove_tree(folder)
    assert os.listdir(tmp_path) == ["kept"]
    remove_tree(folder)  # it may be gone already


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_of_somebody_elses_that_is_called_like_a_staging_folder(
    archive: Path, model: Path, repository: Path, inside: bool
) -> None:
    """Only what has the mark of a deployment is removed."""
    theirs = repository / ".deploying" if inside else repository.with_name(".repository.deploying")
    theirs.mkdir(parents=True)
    (theirs / "precious").write_text("theirs")
    notes = Notes()
    deploy(archive, model, repository, reporter=notes)
    assert (theirs / "precious").read_text() == "theirs"
    assert notes.notes == (
        []
        if inside
        else [f"assembling in {repository / '.deploying'}: {theirs} is there, and no deployment made it"]
    )
    other = repository.with_name(".repository.deploying") if inside else repository / ".deploying"
    assert not other.exists()
    (theirs / STAGED).touch()
    deploy(archive, model, repository)
    assert not theirs.exists()


def test_both_names_are_taken(archive: Path, model: Path, repository: Path) -> None:
    for theirs in (repository / ".deploying", repository.with_name(".repository.deploying")):
        theirs.mkdir(parents=True)
        (theirs / "precious").write_text("theirs")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message == f"{repository / '.deploying'} is in the way, and no deployment made it"
    assert error.hint == "move it away, then deploy again"
