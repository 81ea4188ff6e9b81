from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.transfer.archives import Transfer
from envbuilder.transfer.push_pull import pull_archive, pull_build, push_archive, push_build
from envbuilder.util.files import file_sha256
from tests.helpers.conda_parts import fake_cut
from tests.helpers.conda_project import Project
from tests.helpers.notes import Notes
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small
from tests.helpers.trust import Team, reopened

NO_INDEX = Settings(no_index=True)


def push(small: Small, remote: RemoteStore) -> tuple[BuildReport, Transfer]:
    report = small.build()
    sources = Settings(find_links=(str(small.wheelhouse),), no_index=True)
    transfer = push_build(
        small.recipe, small.lock, report, with_remote(remote, small.store(), settings=sources)
    )
    return report, transfer


def empty(small: Small, remote: RemoteStore, name: str = "empty") -> Store:
    """A new machine's store."""
    return dataclasses.replace(Store.open(small.folder / name), remote=reopened(remote))


def test_a_machine_with_an_empty_disk_builds_without_an_index(small: Small, remote: RemoteStore) -> None:
    report, transfer = push(small, remote)
    assert transfer.sent == (
        "segment base",
        "artifact alpha-1.0-py3-none-any.whl",
        "segment alpha-1.0-py3-none-any.whl",
        "artifact beta-1.0-py3-none-any.whl",
        "segment beta-1.0-py3-none-any.whl",
        "segment activation",
        "archive",
        "manifest",
        "record of the build",
    )
    notes = Notes()
    again = build(
        small.recipe,
        small.lock,
        Session(settings=NO_INDEX, store=empty(small, remote), reporter=notes),
        output=small.folder / "there",
    )
    assert (again.sha256, again.segments_made) == (report.sha256, 0)
    assert notes.notes == []


def test_conda_packages_are_pushed_and_need_no_channel_afterwards(
    conda_project: Project, team: Team, tmp_path: Path
) -> None:
    remote = team.writes(f"file://{tmp_path}/elsewhere")
    conda_project.publish(fake_cut("tool"))
    recipe = conda_project.recipe(conda=["tool"])
    report = conda_project.build(recipe)
    lock = conda_project.lock(recipe).lock
    transfer = push_build(
        recipe, lock, report, with_remote(remote, conda_project.store, settings=conda_project.settings)
    )
    assert "artifact tool-1.0-0.conda" in transfer.sent
    assert "artifact python-3.11" in " ".join(transfer.sent)
    pulled = pull_build(recipe, lock, with_remote(reopened(remote)), tmp_path / "pulled")
    assert (pulled.sha256, pulled.archive.name) == (report.sha256, report.archive.name)

    shutil.rmtree(conda_project.folder / "own")
    elsewhere = reopened(remote)
    store = dataclasses.replace(Store.open(tmp_path / "empty"), remote=elsewhere)
    again = build(recipe, lock, Session(settings=NO_INDEX, store=store), output=tmp_path / "there")
    assert (again.sha256, again.segments_made) == (report.sha256, 0)
    shutil.rmtree(tmp_path / "elsewhere" / "segments")  # only artifacts are left: the packages are among them
    store = dataclasses.replace(Store.open(tmp_path / "third"), remote=reopened(remote))
    again = build(recipe, lock, Session(settings=NO_INDEX, store=store), output=tmp_path / "third-envs")
    assert again.sha256 == report.sha256


def test_pushing_again_uploads_nothing(small: Small, remote: RemoteStore) -> None:
    push(small, remote)
    _, transfer = push(small, reopened(remote))
    assert (transfer.sent, transfer.there) == ((), 9)


def test_the_archive_of_a_recipe_is_pulled(small: Small, remote: RemoteStore) -> None:
    report, _ = push(small, remote)
    output = small.folder / "there"
    transfer = pull_build(small.recipe, small.lock, with_remote(reopened(remote)), output)
    assert transfer.sent == ("archive",)
    assert transfer.archive == output / report.archive.name
    assert file_sha256(transfer.archive) == report.sha256
    assert manifest_beside(transfer.archive).read_bytes() == manifest_beside(report.archive).read_bytes()
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [report.archive.name, manifest_beside(report.archive).name]
    )
    before = transfer.archive.stat()
    assert pull_build(small.recipe, small.lock, with_remote(reopened(remote)), output).sent == ()
    assert transfer.archive.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("pushed", ["RECIPE", "ARCHIVE"])
def test_whichever_was_pushed_either_is_pulled(small: Small, remote: RemoteStore, pushed: str) -> None:
    if pushed == "RECIPE":
        report, _ = push(small, remote)
    else:
        report = small.build()
        push_archive(report.archive, with_remote(remote, small.store()))
    name = report.archive.name
    for number, called in enumerate([name, name.removesuffix(".tar.gz"), report.sha256[:12], report.sha256]):
        there = with_remote(reopened(remote))
        assert pull_archive(called, there, small.folder / f"there{number}").sha256 == report.sha256
    found = pull_build(
        small.recipe, small.lock, with_remote(reopened(remote)), small.folder / "of the recipe"
    )
    assert file_sha256(found.archive) == report.sha256
