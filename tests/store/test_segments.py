"""Segments in a remote store: signed, whole, and built here where they cannot be had."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.segments import download_segment, share_segment, upload_segment
from envbuilder.store.trust import Trust
from tests.helpers.notes import Notes
from tests.helpers.trust import Team, reopened

KEY = "ab" * 32
FACTS = b'{"facts": 1}\n'
LITERALS = bytes(range(256)) * 100


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    folder = tmp_path / "segment"
    folder.mkdir()
    (folder / "segment.json").write_bytes(FACTS)
    (folder / "literals").write_bytes(LITERALS)
    return folder


def behind(remote: RemoteStore, folder: Path) -> Store:
    """Return the store of another machine, with *remote* behind it."""
    return dataclasses.replace(Store.open(folder), remote=reopened(remote))


def test_what_is_uploaded_is_downloaded_whole(
    remote: RemoteStore, store: Store, segment: Path, tmp_path: Path
) -> None:
    assert upload_segment(KEY, segment, store, remote)
    there = behind(remote, tmp_path / "there")
    found = download_segment(KEY, there, SILENT)
    assert found == there.entry_path("segments", KEY)
    assert (found / "segment.json").read_bytes() == FACTS
    assert (found / "literals").read_bytes() == LITERALS
    assert download_segment("cd" * 32, there, SILENT) is None
    assert list((store.root / "tmp").iterdir()) == list((there.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("literals", [b"", b"x"])
def test_a_segment_without_literals(store: Store, segment: Path, literals: bytes, tmp_path: Path) -> None:
    (segment / "literals").write_bytes(literals)
    remote = Team(tmp_path).writes(f"file://{tmp_path}/remote")
    upload_segment(KEY, segment, store, remote)
    found = download_segment(KEY, behind(remote, tmp_path / "there"), SILENT)
    assert found is not None
    assert (found / "literals").read_bytes() == literals


def test_it_is_shared_once(store: Store, segment: Path, team: Team, tmp_path: Path) -> None:
    remote = team.writes(f"file://{tmp_path}/remote")
    assert share_segment(KEY, segment, store, remote)
    assert not share_segment(KEY, segment, store, reopened(remote))
    stranger = Team(tmp_path, "stranger").writes(remote.url)
    assert share_segment(KEY, segment, store, stranger), "who trusts nobody there signs it, too"


def test_who_has_no_key_uploads_nothing(store: Store, segment: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        upload_segment(KEY, segment, store, RemoteStore(f"file://{tmp_path}/remote", trust=Trust()))
    assert not (tmp_path / "remote" / "segments").exists()


def test_without_a_remote_store_there_is_none(store: Store) -> None:
    notes = Notes()
    assert download_segment(KEY, store, notes) is None
    assert notes.notes == []


def test_it_is_said_once_that_nobody_is_trusted(
    store: Store, segment: Path, team: Team, tmp_path: Path
) -> None:
    remote, notes = team.writes(f"file://{tmp_path}/remote"), Notes()
    upload_segment(KEY, segment, store, remote)
    there = dataclasses.replace(Store.open(tmp_path / "there"), remote=RemoteStore(remote.url, trust=Trust()))
    assert [download_segment(KEY, there, notes) for _ in range(2)] == [None, None]
    (said,) = notes.notes
    assert said.startswith(f"{remote.url}: only artifacts are downloaded from it")


def test_what_a_stranger_signed_is_built_here(
    store: Store, segment: Path, team: Team, tmp_path: Path
) -> None:
    url, notes = f"file://{tmp_path}/remote", Notes()
    upload_segment(KEY, segment, store, Team(tmp_path, "stranger").writes(url))
    there = behind(team.writes(url), tmp_path / "there")
    assert [download_segment(KEY, there, notes) for _ in range(2)] == [None, None]
    (said,) = notes.notes
    assert said.endswith(": segments with that signature are built here")
    assert not there.entry_path("segments", KEY).exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not a segment: expected the length of its facts, found b''"),
        (b"13", "is not a segment: expected the length of its facts, found b'13'"),
        (b"x\n" + FACTS, "is not a segment: expected the length of its facts, found b'x'"),
        (b"0" * 13 + b"\n", "is not a segment: expected the length of its facts, found b'0000000000000'"),
        (b"99\n" + FACTS, "is not a segment: its facts end 86 bytes early"),
    ],
)
def test_signed_bytes_that_are_no_segment(
    store: Store, team: Team, tmp_path: Path, body: bytes, said: str
) -> None:
    remote, notes = team.writes(f"file://{tmp_path}/remote"), Notes()
    remote.put_signed("segments", KEY, body, tmp_path)
    there = behind(remote, tmp_path / "there")
    assert download_segment(KEY, there, notes) is None
    assert [note.partition(" is ")[2] for note in notes.notes] == [
        f"{said.partition('is ')[2]}: the segment is built here"
    ]
    assert not there.entry_path("segments", KEY).exists()


def test_bytes_that_changed_in_the_store_are_not_taken(
    store: Store, segment: Path, team: Team, tmp_path: Path
) -> None:
    remote, notes = team.writes(f"file://{tmp_path}/remote"), Notes()
    upload_segment(KEY, segment, store, remote)
    (blob,) = [path for path in (tmp_path / "remote" / "blobs").rglob("*") if path.is_file()]
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    there = behind(remote, tmp_path / "there")
    assert download_segment(KEY, there, notes) is None
    (said,) = notes.notes
    assert "does not match its name" in said
    assert not there.entry_path("segments", KEY).exists()


def test_another_process_that_was_faster(store: Store, segment: Path, team: Team, tmp_path: Path) -> None:
    remote = team.writes(f"file://{tmp_path}/remote")
    upload_segment(KEY, segment, store, remote)
    there = behind(remote, tmp_path / "there")
    place = there.entry_path("segments", KEY)
    place.mkdir(parents=True)
    (place / "literals").write_bytes(b"theirs")
    assert download_segment(KEY, there, SILENT) == place
    assert (place / "literals").read_bytes() == b"theirs"
