"""Aliases and images, and what the archives hold that they stand for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError, StoreError
from envbuilder.fleet.patching.images import Found
from envbuilder.fleet.patching.pointing import Targets, Unanswered, images_of
from envbuilder.fleet.patching.subject import read_subject
from envbuilder.fleet.repository.environments import Inventories
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import move_alias, read_alias
from envbuilder.transfer.push_pull import push_archive
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small, copy_small
from tests.helpers.trust import Team

NOWHERE = "7" * 64


@pytest.fixture
def small(tmp_path: Path, built_small: Small) -> Small:
    return copy_small(built_small, tmp_path)


@pytest.fixture
def report(small: Small) -> BuildReport:
    return small.build()


@pytest.fixture
def remote(small: Small, report: BuildReport, team: Team) -> RemoteStore:
    """A remote store with the archive, and the alias ``small:stable`` of it."""
    made = team.writes((small.folder / "remote").as_uri())
    push_archive(report.archive, with_remote(made, small.store()))
    move_alias(read_alias("small:stable", made), report.sha256, small.store(), made)
    return made


def targets(small: Small, said: str = "beta==1.0") -> Targets:
    return Targets(read_subject(said, None), Inventories(), small.output)


def test_an_archive_that_is_here_is_looked_into(small: Small, report: BuildReport) -> None:
    digest, held, whole = targets(small).look(report.sha256, None)
    assert (digest, [one.label() for one in held], whole) == (report.manifest.lock_digest, ["beta 1.0"], True)
    assert targets(small, "beta==2.0").look(report.sha256, None) == (digest, (), True)


def test_of_one_that_is_not_here_its_manifest_is_asked(
    small: Small, report: BuildReport, remote: RemoteStore
) -> None:
    shutil.rmtree(small.output)
    assert targets(small).look(report.sha256, None) == ("", (), False)
    digest, held, whole = targets(small).look(report.sha256, remote)
    assert (digest, [one.label() for one in held], whole) == (
        report.manifest.lock_digest,
        ["beta 1.0"],
        False,
    )
    with pytest.raises(StoreError, match="holds no archive 777777777777"):
        targets(small).look(NOWHERE, remote)


def test_an_archive_of_its_name_and_other_bytes_is_another(small: Small, report: BuildReport) -> None:
    changed = small.output / f"other-{NOWHERE[:12]}.tar.gz"
    report.archive.rename(changed)
    assert targets(small).look(NOWHERE, None) == ("", (), False)


# -- aliases ---------------------------------------------------------------------------------------


def test_aliases_of_an_archive_that_holds_it(small: Small, report: BuildReport, remote: RemoteStore) -> None:
    session = with_remote(remote, small.store())
    (found,), notes = targets(small).aliases("small", session)
    assert (found.name, found.sha256, found.lock_digest) == (
        "small:stable",
        report.sha256,
        report.manifest.lock_digest,
    )
    assert notes == []
    assert targets(small, "beta==2.0").aliases("small", session) == ([], [])
    assert targets(small).aliases("other", session) == ([], [])
    assert targets(small).aliases("small", Session(store=small.store())) == ([], [])


def test_of_an_archive_that_is_not_here_it_is_said_that_it_was_not_searched(
    small: Small, remote: RemoteStore
) -> None:
    shutil.rmtree(small.output)
    found, notes = targets(small, "beta==2.0").aliases("small", with_remote(remote, small.store()))
    assert (found, notes) == (
        [],
        ["small:stable: its archive is not here, only its manifest was searched"],
    )


def test_a_store_that_does_not_answer_is_asked_once(small: Small, remote: RemoteStore, team: Team) -> None:
    shutil.rmtree(small.output)
    shutil.rmtree(small.folder / "remote" / "manifests")
    session = with_remote(team.writes(remote.url), small.store())
    one = targets(small)
    (_, first), (_, again) = one.aliases("small", session), one.aliases("other", session)
    assert first == again
    assert first[0].startswith("its aliases were not searched: ")


# -- images ----------------------------------------------------------------------------------------


def image_of(sha256: str) -> Found:
    return Found(name="oci://host/small:v1", sha256=sha256, lock_digest="of the image", recipe="small")


def test_images_of_archives_that_are_here(small: Small, report: BuildReport) -> None:
    session = Session(store=small.store())
    pointing, note = targets(small).image(image_of(report.sha256), session)
    assert note is None
    assert pointing is not None
    assert (pointing.lock_digest, [one.label() for one in pointing.held]) == (
        report.manifest.lock_digest,
        ["beta 1.0"],
    )
    assert targets(small, "beta==2.0").image(image_of(report.sha256), session) == (None, None)


def test_images_of_archives_that_are_nowhere(small: Small, remote: RemoteStore) -> None:
    for session in (Session(store=small.store()), with_remote(remote, small.store())):
        pointing, note = targets(small).image(image_of(NOWHERE), session)
        assert pointing is not None
        assert (pointing.lock_digest, pointing.held) == ("of the image", ())
        assert note == "the archive of oci://host/small:v1 is not here: what is inside was not searched"


def test_registries_that_do_not_answer_are_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    fallback = Session(store=store)
    stores = [
        Session(settings=Settings(store=url), store=store)
        for url in ("oci://127.0.0.1:9/store", "oci://127.0.0.1:9/named", "file:///x")
    ]
    found = list(images_of(["oci://127.0.0.1:9/named"], stores, fallback))
    assert [one.name for one in found] == ["oci://127.0.0.1:9/named", "oci://127.0.0.1:9/store"]
    assert all(isinstance(one, Unanswered) for one in found)
    with pytest.raises(RecipeError):
        list(images_of(["no reference"], [], fallback))
