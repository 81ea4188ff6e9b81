"""The end of a patch: aliases that are moved, and what still holds it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import EnvbuilderError
from envbuilder.fleet.patching.finish import finish
from envbuilder.fleet.patching.holdings import Held, Holding, Pointing, held_by
from envbuilder.fleet.patching.journal import Entry, Journal, read_journal
from envbuilder.fleet.patching.rows import PatchedRecipe
from envbuilder.fleet.patching.subject import read_subject
from envbuilder.fleet.plan import Job
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import move_alias, read_alias
from envbuilder.transfer.push_pull import push_archive
from tests.fleet.patching.conftest import lock_of, wheel
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small, copy_small
from tests.helpers.trust import Team
from tests.helpers.wheels import small_recipe

BEFORE = "the lock before"
OLD = "1" * 64


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def row(here: Path) -> PatchedRecipe:
    return PatchedRecipe(
        recipe="small", state="patched", archive=here / "envs" / "small-2.tar.gz", path=here / "small.yaml"
    )


@pytest.fixture
def held(here: Path) -> tuple[Held, ...]:
    return held_by(read_subject("beta==1.0", None), lock_of(here, wheel("beta")), None)


def holding(folder: Path, *aliases: Pointing, images: tuple[Pointing, ...] = ()) -> Holding:
    job = Job(recipe=small_recipe(folder), lock=lock_of(folder), settings=Settings())
    return Holding(job=job, aliases=aliases, images=images)


def noted(folder: Path) -> Journal:
    """A patch of ``small``, whose lock was ``BEFORE``."""
    journal = Journal(folder / "envs", "CVE-1", [])
    recipe = folder / "small.yaml"
    journal.note(Entry(recipe=str(recipe), lock=str(folder / "pylock.small.toml"), before=BEFORE, after="x"))
    return journal


def error_of(row: PatchedRecipe) -> EnvbuilderError:
    assert row.state == "still affected"
    assert row.error is not None
    return row.error


def test_where_nothing_is_left_the_row_is_as_it_was(here: Path, row: PatchedRecipe) -> None:
    assert finish(row, None, (), noted(here), Session()) == row
    assert finish(row, holding(here), (), noted(here), Session()) == row


def test_what_no_package_brings_is_still_there(
    here: Path, row: PatchedRecipe, held: tuple[Held, ...]
) -> None:
    error = error_of(finish(row, holding(here), held, noted(here), Session()))
    assert error.message == "beta 1.0: no package of the lock brings it"


def test_aliases_and_images_that_stay_are_named_with_what_moves_them(
    here: Path, row: PatchedRecipe, held: tuple[Held, ...]
) -> None:
    alias = Pointing(name="small:stable", sha256=OLD, lock_digest="x", held=held)
    images = tuple(
        Pointing(name=name, sha256=OLD, lock_digest="x", held=held)
        for name in ("oci://host/small:v1", "oci://host/small@sha256:2")
    )
    error = error_of(finish(row, holding(here, alias, images=images), (), noted(here), Session()))
    assert error.message == (
        "small:stable still points to 111111111111, which holds beta 1.0; "
        "oci://host/small:v1 is an image of 111111111111, which holds beta 1.0; "
        "oci://host/small@sha256:2 is an image of 111111111111, which holds beta 1.0"
    )
    assert error.hint == (
        "with a key that the store trusts, `envbuilder push envs/small-2.tar.gz` and "
        "`envbuilder alias small:stable small-2.tar.gz`; "
        "`envbuilder push envs/small-2.tar.gz oci://host/small:v1`, "
        "`envbuilder push envs/small-2.tar.gz oci://host/small:TAG`"
    )


def test_aliases_of_the_archive_before_are_moved_and_noted_and_others_are_not(
    here: Path, row: PatchedRecipe, held: tuple[Held, ...], built_small: Small, team: Team
) -> None:
    small: Small = copy_small(built_small, here)
    old, new = (small.with_pack(level=level).build() for level in (4, 9))
    remote = team.writes((here / "remote").as_uri())
    session = with_remote(remote, small.store())
    push_archive(old.archive, session)
    for name in ("small:stable", "small:pinned"):
        move_alias(read_alias(name, remote), old.sha256, small.store(), remote)
    digest = hashlib.sha256(BEFORE.encode()).hexdigest()
    of_it = Pointing(name="small:stable", sha256=old.sha256, lock_digest=digest, held=held)
    of_another = Pointing(name="small:pinned", sha256=old.sha256, lock_digest="x", held=held)
    row = PatchedRecipe(recipe="small", state="patched", archive=new.archive, path=here / "small.yaml")

    done = finish(row, holding(here, of_it, of_another), (), noted(here), session)
    assert done.aliases == ("small:stable",)
    assert error_of(done).message.startswith("small:pinned still points to ")
    assert read_alias("small:stable", remote).sha256 == new.sha256
    assert read_alias("small:pinned", remote).sha256 == old.sha256
    (patch,) = read_journal(here / "envs")
    assert patch.entries[0].aliases == {"small:stable": old.sha256}


def test_an_archive_that_cannot_be_pushed_moves_no_alias(
    here: Path, row: PatchedRecipe, held: tuple[Held, ...], team: Team
) -> None:
    remote = team.writes((here / "remote").as_uri())
    digest = hashlib.sha256(BEFORE.encode()).hexdigest()
    alias = Pointing(name="small:stable", sha256=OLD, lock_digest=digest, held=held)
    done = finish(row, holding(here, alias), (), noted(here), with_remote(remote))
    assert done.state == "refused"
    assert done.error is not None
    assert "does not exist" in done.error.message
