"""What each build made, said in a remote store, and the conda packages that it was made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fsspec.core import url_to_fs

from envbuilder.building.record import BuildRecord
from envbuilder.errors import RecipeError, StoreError
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.store.signed import UntrustedError
from envbuilder.transfer.records import find_record, read_record, upload_packages, upload_record
from tests.helpers.conda_parts import fake_cut
from tests.helpers.conda_project import Project
from tests.helpers.notes import Notes
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small
from tests.helpers.trust import Team, reopened

KEY = "ab" * 32
RECORD = BuildRecord(
    archive="small-0123456789ab.tar.gz",
    sha256="0123456789ab" + "0" * 52,
    size=7,
    segments=4,
    manifest="c" * 64,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_what_a_build_made_is_said_once(remote: RemoteStore, store: Store) -> None:
    assert read_record(KEY, remote) is None
    assert upload_record(KEY, RECORD, store, remote)
    assert not upload_record(KEY, RECORD, store, reopened(remote))
    assert read_record(KEY, reopened(remote)) == RECORD
    assert read_record("cd" * 32, reopened(remote)) is None
    assert list((store.root / "tmp").iterdir()) == []


def test_what_nobody_trusted_says_counts_for_nothing(store: Store, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/there"
    upload_record(KEY, RECORD, store, Team(tmp_path, "stranger").writes(url))
    mine = Team(tmp_path, "mine").writes(url)
    with pytest.raises(UntrustedError):
        read_record(KEY, mine)
    notes = Notes()
    assert find_record(KEY, mine, notes) is None
    (said,) = notes.notes
    assert f"{url}/builds/{KEY[:2]}/{KEY}" in said


def test_where_it_cannot_be_told_the_reason_is(team: Team, store: Store, tmp_path: Path) -> None:
    remote, notes = team.writes(f"file://{tmp_path}/there"), Notes()
    assert find_record(KEY, remote, notes) is None
    assert notes.notes == [], "no build of that key is no trouble"
    remote.put_signed("builds", KEY, b"{}", tmp_path)
    assert find_record(KEY, reopened(remote), notes) is None
    system, root = url_to_fs(remote.url)
    system.pipe_file(f"{root}/builds/{KEY[:2]}/{KEY}", b"no object")
    assert find_record(KEY, reopened(remote), notes) is None
    assert len(notes.notes) == 2
    assert all(f"builds/{KEY[:2]}/{KEY}" in said for said in notes.notes)
    (tmp_path / "a file").write_text("")
    assert find_record(KEY, team.writes(f"file://{tmp_path}/a file"), notes) is None
    assert len(notes.notes) == 3


def test_a_lock_without_conda_packages_uploads_none(small: Small, tmp_path: Path) -> None:
    nowhere = Session(settings=small.settings, store=Store.open(tmp_path / "own"))
    assert upload_packages(small.recipe, small.lock, nowhere) == {}


def test_conda_packages_are_uploaded_once(conda_project: Project, team: Team, tmp_path: Path) -> None:
    conda_project.publish(fake_cut("tool"))
    recipe = conda_project.recipe(conda=["tool"])
    lock = conda_project.lock(recipe).lock
    assert lock.conda is not None
    names = {one.filename for one in lock.conda.packages}
    remote = team.writes(f"file://{tmp_path}/there")
    session = with_remote(remote, conda_project.store, settings=conda_project.settings)
    assert upload_packages(recipe, lock, session) == dict.fromkeys(names, True)
    again = with_remote(reopened(remote), conda_project.store, settings=conda_project.settings)
    assert upload_packages(recipe, lock, again) == dict.fromkeys(names, False)
    (tool,) = [one for one in lock.conda.packages if one.name == "tool"]
    assert reopened(remote).holds("artifacts", tool.sha256)
    alone = dataclasses.replace(again, store=dataclasses.replace(again.store, remote=None))
    with pytest.raises((RecipeError, StoreError)):
        upload_packages(recipe, lock, alone)
