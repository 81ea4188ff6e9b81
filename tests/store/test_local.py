from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.store.local import Store, parse_size
from envbuilder.util.tempdirs import temporary_name

DATA = b"some bytes"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def fresh(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def put(store: Store, data: bytes = DATA) -> Path:
    sha256 = hashlib.sha256(data).hexdigest()
    with store.artifact_writer(sha256) as writer:
        writer.write(data)
    path = store.find_artifact(sha256)
    assert path is not None
    return path


def flip(path: Path, position: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


# -- where -----------------------------------------------------------------------------------------


def test_the_variable_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVBUILDER_CACHE", str(tmp_path / "there"))
    assert Store.open().root == tmp_path / "there"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVBUILDER_CACHE", "here")
    assert Store.open().root == tmp_path / "here"


def test_without_it_the_platform_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVBUILDER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store.open().root == tmp_path / "envbuilder"


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(RecipeError) as caught:
        Store.open(tmp_path / "store")
    assert caught.value.message == f"the store {tmp_path}/store is not a folder"
    assert caught.value.hint == "set ENVBUILDER_CACHE to another path"


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 40 * 2**30), ("none", None), ("NONE", None), ("0", 0), ("17", 17), ("2K", 2048), ("1.5m", 1572864)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text, where="x") == size


@pytest.mark.parametrize("text", ["G", "ten", "-1", "-5G", "inf", "nan", "1 0", "5GB"])
def test_what_is_no_size(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVBUILDER_CACHE_LIMIT", text)
    with pytest.raises(RecipeError) as caught:
        Store.open(tmp_path)
    assert caught.value.message == f"ENVBUILDER_CACHE_LIMIT: {text!r} is not a size"
    assert caught.value.hint == "for example 500M, 20G or none"
    assert caught.value.exit_code == 2


# -- artifacts -------------------------------------------------------------------------------------


def test_an_artifact_enters_whole(fresh: Store) -> None:
    assert fresh.find_artifact(SHA256) is None
    path = put(fresh)
    assert path == fresh.root / "artifacts" / SHA256[:2] / SHA256 == fresh.artifact_path(SHA256)
    assert path.read_bytes() == DATA
    assert list((fresh.root / "tmp").iterdir()) == []


def test_other_bytes_do_not_enter(fresh: Store) -> None:
    with pytest.raises(IntegrityError) as caught, fresh.artifact_writer(SHA256) as writer:
        writer.write(b"other")
    other = hashlib.sha256(b"other").hexdigest()
    assert caught.value.message == f"expected sha256 {SHA256} as locked, got {other} (5 bytes)"
    assert caught.value.exit_code == 5
    assert fresh.entries() == []
    assert list((fresh.root / "tmp").iterdir()) == []


def test_a_writer_begins_again(fresh: Store) -> None:
    with fresh.artifact_writer(SHA256) as writer:
        writer.write(b"what broke off")
        writer.restart()
        assert writer.written == 0
        writer.write(DATA)
        assert writer.digest == SHA256
    assert fresh.check_artifact(SHA256)


def test_an_artifact_of_another_size_is_removed(fresh: Store) -> None:
    path = put(fresh)
    path.write_bytes(DATA[:-1])
    assert fresh.find_artifact(SHA256, len(DATA)) is None
    assert not path.exists()


def test_a_flipped_bit_is_found_where_it_is_looked_for(fresh: Store) -> None:
    path = put(fresh)
    flip(path)
    assert fresh.trust_artifact(SHA256)  # this process wrote it, and read it as it did
    again = Store.open(fresh.root)
    assert not again.trust_artifact(SHA256)
    assert not path.exists()
    assert not again.check_artifact(SHA256)


def test_an_artifact_is_read_once_to_be_trusted(fresh: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(fresh)
    again = Store.open(fresh.root)
    assert again.trust_artifact(SHA256)
    monkeypatch.setattr("envbuilder.store.local.file_sha256", pytest.fail)
    assert again.trust_artifact(SHA256)


# -- upkeep ----------------------------------------------------------------------------------------


def aged(store: Store, name: str, age: float, size: int = 100) -> Path:
    path = store.write_entry("builds", name, bytes(size))
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_what_was_not_used_for_longest_goes_first(fresh: Store) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        aged(fresh, name, age)
    assert [entry.key for entry in fresh.entries()] == ["old", "middle", "new"]
    assert fresh.find("builds", "old") is not None  # which uses it
    assert [entry.key for entry in fresh.prune(250)] == ["middle"]
    assert [entry.key for entry in fresh.entries()] == ["new", "old"]
    assert fresh.prune(250) == []


def test_the_limit_is_the_default_of_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVBUILDER_CACHE_LIMIT", "150")
    store = Store.open(tmp_path)
    for name in ("a", "b", "c"):
        aged(store, name, 0)
    assert [entry.key for entry in store.prune()] == ["a", "b"]
    assert Store(root=tmp_path, limit=None).prune() == []


def test_clear_leaves_nothing(fresh: Store) -> None:
    put(fresh)
    folder = fresh.root / "segments" / "ab" / "abc"
    folder.mkdir(parents=True)
    (folder / "literals").write_bytes(bytes(7))
    (entry,) = [entry for entry in fresh.entries() if entry.kind == "segments"]
    assert (entry.key, entry.size, entry.paths) == ("abc", 7, (folder,))
    assert {entry.kind for entry in fresh.clear()} == {"artifacts", "segments"}
    assert fresh.entries() == []
    assert not folder.exists()


def test_scratch_of_who_still_runs_is_left_and_that_of_killed_ones_swept(fresh: Store) -> None:
    tmp = fresh.root / "tmp"

    def leave() -> None:
        left = tmp / temporary_name("segment")
        left.mkdir()
        (left / "literals").write_bytes(b"half")
        (tmp / temporary_name("file")).touch()

    with fresh.scratch("running") as running:
        for clean in (fresh.prune, lambda: Store.open(fresh.root)):
            leave()
            clean()
            assert list(tmp.iterdir()) == [running]
    assert list(tmp.iterdir()) == []


# -- read only -------------------------------------------------------------------------------------

_READ_ONLY = """
import hashlib, os, sys
from pathlib import Path
from envbuilder.store.local import Store
if os.geteuid() == 0:  # who may write anywhere
    os.setgid(65534)
    os.setuid(65534)
store = Store.open(Path(sys.argv[1]))
sha256 = sys.argv[2]
assert store.readonly and store.overflow is not None
assert store.find_artifact(sha256, 10) is not None
assert store.prune(0) == []
other = hashlib.sha256(b"new").hexdigest()
with store.artifact_writer(other, 3) as writer:
    writer.write(b"new")
assert store.find_artifact(other).is_relative_to(store.overflow)
# One that is damaged is passed over for good, and one fetched again takes its place.
damaged = sys.argv[3]
assert not store.trust_artifact(damaged)
assert store.find_artifact(damaged) is None
with store.artifact_writer(damaged) as writer:
    writer.write(b"was sound")
assert store.trust_artifact(damaged)
print(store.overflow)
"""


def test_a_store_that_another_user_may_only_read(world: Path) -> None:
    store = Store.open(world / "store")
    put(store)
    damaged = put(store, b"was sound")
    flip(damaged)
    before = sorted(store.root.rglob("*"))
    folders = [store.root, *(path for path in before if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", _READ_ONLY, str(store.root), SHA256, damaged.name],
        env={"PATH": os.defpath, "TMPDIR": str(world / "tmp")},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert sorted(store.root.rglob("*")) == before
    for folder in folders:
        folder.chmod(0o755)
    assert not Path(done.stdout.strip()).exists()  # what it kept for itself is gone with it


@pytest.fixture
def world() -> Iterator[Path]:
    """A folder that any user can reach, with one to write in."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own are its user's alone
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o777)
        yield folder
