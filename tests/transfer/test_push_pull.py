from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.archive.manifest import manifest_beside
from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.signing.verifier import load_verifier
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.transfer.archives import Transfer
from envbuilder.transfer.push_pull import pull_archive, pull_build, push_archive, push_build
from envbuilder.util.files import file_sha256
from envbuilder.verification.static.provenance import check_provenance
from tests.helpers.authority import write_key
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


def test_a_report_comes_along(small: Small, remote: RemoteStore) -> None:
    report = small.build()
    proof = small.folder / "report.json"
    proof.write_text(json.dumps({"sha256": report.sha256, "passed": True}))
    transfer = push_archive(report.archive, with_remote(remote, small.store()), reports=[proof])
    assert transfer.sent == ("archive", "manifest", "report report.json", "record of the build")
    pulled = pull_archive(report.archive.name, with_remote(reopened(remote)), small.folder / "there")
    (text,) = (path.read_text() for path in pulled.reports)
    assert text == proof.read_text()
    assert pulled.reports[0].name.startswith(f"small-{report.sha256[:12]}.report-")


def test_a_report_of_another_archive_is_refused(small: Small, team: Team, tmp_path: Path) -> None:
    report = small.build()
    proof = tmp_path / "report.json"
    proof.write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(IntegrityError) as raised:
        push_archive(
            report.archive, with_remote(team.writes(f"file://{tmp_path}/e"), small.store()), reports=[proof]
        )
    assert raised.value.message == f"{proof} is of the archive 000000000000, not of {report.sha256[:12]}"
    assert not (tmp_path / "e").exists()


def test_provenances_come_along(small: Small, remote: RemoteStore) -> None:
    report = small.build()
    keys = [small.folder / f"{name}.pem" for name in ("one", "two", "stranger")]
    for key in keys:
        write_key(small.folder, key.stem)
    path = api.attest(report.archive, key=keys[0])
    transfer = push_archive(report.archive, with_remote(remote, small.store()))
    assert transfer.sent == ("archive", "manifest", f"provenance {path.name}", "record of the build")
    api.attest(report.archive, key=keys[1])  # signed by somebody else, in the same place
    assert push_archive(report.archive, with_remote(reopened(remote), small.store())).sent == (
        transfer.sent[2],
    )

    pulled = pull_archive(report.archive.name, with_remote(reopened(remote)), small.folder / "there")
    first, other = pulled.provenances
    assert first.name == path.name
    assert other.name.startswith(f"{path.stem}-")
    for key in keys[:2]:
        trusted = load_verifier(key.with_suffix(".pub"))
        found = list(check_provenance(pulled.archive, report.sha256, None, trusted))
        assert [(check.id, check.status) for check in found] == [
            ("provenance.signature", "passed"),
            ("provenance.subject", "passed"),
        ]
    stranger = load_verifier(keys[2].with_suffix(".pub"))
    (check,) = check_provenance(pulled.archive, report.sha256, None, stranger)
    assert check.status == "failed"
    assert check.found.count("it was signed by") == 2
    again = pull_archive(report.archive.name, with_remote(reopened(remote)), small.folder / "there")
    assert sorted(again.provenances) == sorted(pulled.provenances)


def test_a_provenance_of_another_archive_is_refused(small: Small, team: Team, tmp_path: Path) -> None:
    report = small.build()
    write_key(tmp_path, "key")
    path = api.attest(report.archive, key=tmp_path / "key.pem")
    text = path.read_text()
    statement = json.loads(base64.b64decode(json.loads(text)["payload"]))
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps({**json.loads(text), "payload": payload}))
    with pytest.raises(IntegrityError) as raised:
        push_archive(report.archive, with_remote(team.writes(f"file://{tmp_path}/e"), small.store()))
    assert raised.value.message == f"{path} is of the archive 000000000000, not of {report.sha256[:12]}"
    path.write_text("[]")
    with pytest.raises(IntegrityError, match=r"it is not a DSSE envelope of a statement"):
        push_archive(report.archive, with_remote(team.writes(f"file://{tmp_path}/e"), small.store()))
    assert not (tmp_path / "e").exists()


def test_a_provenance_that_was_changed_in_the_store(small: Small, team: Team, tmp_path: Path) -> None:
    remote = team.writes(f"file://{tmp_path}/e")
    report = small.build()
    write_key(tmp_path, "key")
    api.attest(report.archive, key=tmp_path / "key.pem")
    push_archive(report.archive, with_remote(remote, small.store()))
    text = provenance_beside(report.archive).read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    there = tmp_path / "e" / "blobs" / digest[:2] / digest
    there.write_bytes(text.replace(b"signatures", b"signaturez"))
    with pytest.raises(IntegrityError, match="does not match its name"):
        pull_archive(report.archive.name, with_remote(reopened(remote)), tmp_path / "there")


def test_a_manifest_that_is_not_the_archive_s_is_not_signed(small: Small, team: Team, tmp_path: Path) -> None:
    report = small.build()
    beside = manifest_beside(report.archive)
    beside.write_bytes(beside.read_bytes().replace(b'"recipe": "small"', b'"recipe": "other"'))
    with pytest.raises(IntegrityError) as raised:
        push_archive(report.archive, with_remote(team.writes(f"file://{tmp_path}/e"), small.store()))
    assert raised.value.message == f"{beside} is not the manifest in {report.archive}"
    assert not (tmp_path / "e").exists()


def test_what_nobody_has_pushed(small: Small, team: Team, tmp_path: Path) -> None:
    remote = team.writes(f"file://{tmp_path}/elsewhere")
    with pytest.raises(StoreError) as raised:
        pull_build(small.recipe, small.lock, with_remote(remote), tmp_path / "there")
    assert raised.value.message == f"file://{tmp_path}/elsewhere holds no archive of small as it is locked"
    with pytest.raises(StoreError) as raised:
        pull_archive("small-0123456789ab.tar.gz", with_remote(remote), tmp_path / "there")
    assert raised.value.message == (
        f"file://{tmp_path}/elsewhere holds no archive whose sha256 begins with 0123456789ab"
    )
    assert not (tmp_path / "there").exists()
