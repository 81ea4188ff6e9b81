"""Objects at a URL: the same on a disk, in S3, and in memory."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from envbuilder.errors import RecipeError, StoreError
from envbuilder.store import objects
from envbuilder.store.objects import RemoteObjects
from envbuilder.util.extras import installing


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    path = tmp_path / "draft"
    path.write_bytes(b"0123456789")
    return path


def read(files: RemoteObjects, path: str, size: int | None = None) -> bytes:
    return b"".join(files.read(path, size))


def test_an_object_is_created_once_and_read_back(url: str, draft: Path) -> None:
    files = RemoteObjects(url)
    assert files.size("a/b/one") is None
    assert files.create("a/b/one", draft)
    assert files.size("a/b/one") == 10
    assert read(files, "a/b/one") == b"0123456789"
    assert read(files, "a/b/one", 4) == b"0123"
    assert files.read_small("a/b/one", 3) == b"012"
    assert files.read_small("a/b/two", 3) is None
    draft.write_bytes(b"other")
    assert not files.create("a/b/one", draft)
    assert read(files, "a/b/one") == b"0123456789"
    assert files.place("a/b/one") == f"{url}/a/b/one"


def test_it_is_read_in_parts(url: str, draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CHUNK", 4)
    files = RemoteObjects(url)
    files.create("a/one", draft)
    assert list(files.read("a/one")) == [b"0123", b"4567", b"89"]


def test_an_object_is_replaced_and_removed(url: str, draft: Path) -> None:
    files = RemoteObjects(url)
    assert files.version("a/one") is None
    files.replace("a/one", draft)
    before = files.version("a/one")
    draft.write_bytes(b"another one")
    files.replace("a/one", draft)
    assert read(files, "a/one") == b"another one"
    assert before is not None
    assert files.version("a/one") not in (None, before)
    files.remove("a/one")
    assert files.size("a/one") is None
    files.remove("a/one")  # nothing is left to remove


def test_folders_and_what_is_in_them(url: str, draft: Path) -> None:
    files = RemoteObjects(url)
    assert files.folders() in (None, [])
    for path in ("a/ab/one", "a/ab/two", "a/cd/three", "b/four"):
        files.create(path, draft)
    assert files.folders() == ["a", "b"]
    assert files.names("a/ab") == ["one", "two"]
    assert files.names("a") == [], "folders are no objects"
    assert files.names("c") == []
    assert files.walk("a") == {"ab/one": 10, "ab/two": 10, "cd/three": 10}
    assert files.walk("c") == {}


def test_what_is_not_there_and_what_is_shorter_than_was_said(url: str, draft: Path) -> None:
    files = RemoteObjects(url)
    for size in (None, 10):
        with pytest.raises(StoreError, match=r"/a/one is not there"):
            read(files, "a/one", size)
    files.create("a/one", draft)
    with pytest.raises(StoreError, match=r"/a/one: broke off after 10 of 12 bytes"):
        read(files, "a/one", 12)


@pytest.mark.parametrize("url", ["file", "s3"], indirect=True)  # fsspec's memory has no conditional write
def test_of_two_at_once_one_creates_it(url: str, tmp_path: Path) -> None:
    both, created = threading.Barrier(2, timeout=30), []

    def create(name: str) -> None:
        draft = tmp_path / name
        draft.write_text(name)
        files = RemoteObjects(url)
        both.wait()
        if files.create("a/one", draft):
            created.append(name)

    threads = [threading.Thread(target=create, args=(name,)) for name in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (name,) = created
    assert read(RemoteObjects(url), "a/one") == name.encode()


# -- on a disk -------------------------------------------------------------------------------------


def test_nothing_half_written_is_left(tmp_path: Path, draft: Path) -> None:
    files = RemoteObjects(f"file://{tmp_path}/there")
    files.create("a/one", draft)
    files.replace("a/one", draft)
    assert [path.name for path in (tmp_path / "there").rglob("*")] == ["a", "one"]
    with pytest.raises(StoreError, match=r"/there/a/two: "):
        files.create("a/two", tmp_path / "gone")
    assert [path.name for path in (tmp_path / "there").rglob("*")] == ["a", "one"]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "there" / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "there" / "a" / "pipe")
    with pytest.raises(StoreError, match="pipe"):
        RemoteObjects(f"file://{tmp_path}/there").read_small("a/pipe", 10)


def test_a_file_in_the_place_of_the_store(tmp_path: Path, draft: Path) -> None:
    files = RemoteObjects(f"file://{draft}")
    with pytest.raises(StoreError, match=r"/draft/a/one: Not a directory"):
        files.create("a/one", tmp_path / "draft")


# -- addresses -------------------------------------------------------------------------------------


def test_a_kind_of_store_that_is_none() -> None:
    with pytest.raises(RecipeError, match="the store nosuch://x/y cannot be used: ") as raised:
        RemoteObjects("nosuch://x/y")
    assert raised.value.hint is None


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "adlfs":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(RecipeError) as raised:
        RemoteObjects("az://account/container")
    assert raised.value.hint == installing("az")


def test_a_store_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files = RemoteObjects("oci://127.0.0.1:9/a")
    monkeypatch.setattr("envbuilder.registry.connection.sleep", lambda _: None)
    for _ in range(2):
        with pytest.raises(StoreError, match="the registry does not answer"):
            files.size("archives/aa/one")
