"""An archive in a remote store: with its manifest, its reports and its provenances."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from fsspec.core import url_to_fs

from envbuilder import api
from envbuilder.archive.manifest import manifest_beside
from envbuilder.building.record import BuildReport
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.provenance.envelope import provenance_beside
from envbuilder.signing.verifier import load_verifier
from envbuilder.store.remote import RemoteStore
from envbuilder.transfer.archives import (
    TransferStats,
    download_archive,
    find_archive,
    read_remote_manifest,
    report_beside,
    report_text,
    upload_archive,
    upload_report,
)
from envbuilder.transfer.push_pull import pull_archive, pull_build, push_archive
from envbuilder.util.documents import DOCUMENT
from envbuilder.verification.static.provenance import check_provenance
from tests.helpers.authority import write_key
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small
from tests.helpers.trust import Team, reopened


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


# -- one archive in a store ------------------------------------------------------------------------


def uploaded(small: Small, remote: RemoteStore, *reports: Path) -> tuple[BuildReport, TransferStats]:
    report, stats = small.build(), TransferStats(sent=[])
    upload_archive(report.archive, report.sha256, small.store(), remote, stats, reports=reports)
    return report, stats


def test_an_archive_is_found_by_the_beginning_of_its_digest(small: Small, remote: RemoteStore) -> None:
    report, stats = uploaded(small, remote)
    assert (stats.sent, stats.there) == (["archive", "manifest"], 0)
    there = reopened(remote)
    assert find_archive(there, report.sha256[:12]) == report.sha256
    assert find_archive(there, "0" * 64) == "0" * 64, "a whole digest is not looked up"
    manifest, text, size = read_remote_manifest(there, report.sha256)
    assert (manifest.text().encode(), size) == (text, report.archive.stat().st_size)
    assert text == manifest_beside(report.archive).read_bytes()
    _, again = uploaded(small, reopened(remote))
    assert (again.sent, again.there) == ([], 2)


def test_what_only_begins_like_an_archive_is_passed_over(small: Small, remote: RemoteStore) -> None:
    """Anybody who can write there can add an object that nobody signed."""
    report, _ = uploaded(small, remote)
    system, root = url_to_fs(remote.url)
    other = report.sha256[:-1] + ("0" if report.sha256[-1] != "0" else "1")
    system.pipe_file(f"{root}/manifests/{other[:2]}/{other}", b"{}")
    assert find_archive(reopened(remote), report.sha256[:12]) == report.sha256
    with pytest.raises(StoreError) as raised:
        find_archive(reopened(remote), "0" * 12)
    assert raised.value.message == f"{remote.url} holds no archive whose sha256 begins with {'0' * 12}"


def test_two_archives_that_begin_alike(remote: RemoteStore, tmp_path: Path) -> None:
    for end in "01":
        remote.put_signed("manifests", "ab" * 31 + f"0{end}", b"{}", tmp_path, archive_size=1)
    with pytest.raises(StoreError, match="holds 2 archives whose sha256 begins with abab") as raised:
        find_archive(reopened(remote), "ab" * 6)
    assert raised.value.hint == "give more of it"


def test_an_archive_of_another_size_or_without_a_manifest_is_not_brought(
    small: Small, team: Team, tmp_path: Path
) -> None:
    remote = team.writes(f"file://{tmp_path}/e")
    report, _ = uploaded(small, remote)
    blob = tmp_path / "e" / "archives" / report.sha256[:2] / report.sha256
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=r"archives/\S+ has sha256 "):
        download_archive(reopened(remote), report.sha256, tmp_path / "there")
    blob.unlink()
    with pytest.raises(StoreError, match="is not there"):
        download_archive(reopened(remote), report.sha256, tmp_path / "there")
    assert not (tmp_path / "there").exists(), "as it was"
    with pytest.raises(StoreError, match="holds no archive 000000000000 with a manifest"):
        read_remote_manifest(reopened(remote), "0" * 64)


def test_a_file_that_lies_there_already_is_left(small: Small, team: Team, tmp_path: Path) -> None:
    remote = team.writes(f"file://{tmp_path}/e")
    report, _ = uploaded(small, remote)
    first = download_archive(reopened(remote), report.sha256, tmp_path / "there")
    assert (first.sent, first.there) == (("archive",), 0)
    second = download_archive(reopened(remote), report.sha256, tmp_path / "there")
    assert (second.sent, second.there) == ((), 1)
    first.archive.write_bytes(b"another")
    assert download_archive(reopened(remote), report.sha256, tmp_path / "there").sent == ("archive",)
    assert first.archive.read_bytes() == report.archive.read_bytes()


def test_what_is_no_report(tmp_path: Path) -> None:
    path, sha256 = tmp_path / "report.json", "a" * 64
    path.write_text(json.dumps({"sha256": sha256}))
    assert report_text(path, sha256) == path.read_bytes()
    path.write_text("[]")
    with pytest.raises(IntegrityError, match=r"report\.json is not a report: ") as raised:
        report_text(path, sha256)
    assert raised.value.hint == "`envbuilder verify ARCHIVE --report FILE` writes one"
    path.write_bytes(b" " * (DOCUMENT.size + 1))
    with pytest.raises(StoreError, match=r"report\.json is larger than "):
        report_text(path, sha256)
    path.unlink()
    with pytest.raises(StoreError, match=r"report\.json cannot be read: No such file"):
        report_text(path, sha256)


def test_reports_lie_beside_their_archive_each_under_its_own_name() -> None:
    archive = Path("envs/small-0123456789ab.tar.gz")
    one, other = report_beside(archive, b"1"), report_beside(archive, b"2")
    assert one.parent == other.parent == Path("envs")
    assert one.name == f"small-0123456789ab.report-{hashlib.sha256(b'1').hexdigest()[:12]}.json"
    assert one != other


def test_a_report_of_later_is_added(small: Small, team: Team, tmp_path: Path) -> None:
    remote = team.writes(f"file://{tmp_path}/e")
    report, _ = uploaded(small, remote)
    assert upload_report(b"{}", report.sha256, small.store(), remote)
    assert not upload_report(b"{}", report.sha256, small.store(), reopened(remote))
    (brought,) = download_archive(reopened(remote), report.sha256, tmp_path / "there").reports
    assert brought.read_bytes() == b"{}"
