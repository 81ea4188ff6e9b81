from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.html_report.content import GROUPS, ORDER, Content, Sources, gather
from envbuilder.util.files import file_sha256
from envbuilder.verification.report import Check, Status
from tests.helpers.inventories import Package, write_archive
from tests.html_report.conftest import FAILED, PASSED, report_of


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "small-aaaaaaaaaaaa.tar.gz", Package(name="alpha"))


def test_an_archive_alone(archive: Path) -> None:
    content = gather(archive)
    assert content.verdict == "unknown"
    assert (content.groups(), content.timeline(), content.audit, content.difference) == ([], [], None, None)
    assert [one.component.name for one in content.packages] == ["cpython", "alpha"]
    assert content.sizes is not None
    assert content.sizes.packed == archive.stat().st_size


def test_a_verification_of_it(archive: Path) -> None:
    report = report_of(PASSED, sha256=file_sha256(archive))
    assert gather(archive, Sources(report=report)).verdict == "passed"


def test_a_verification_of_another_archive_is_refused(archive: Path) -> None:
    with pytest.raises(RecipeError, match="the verification is of another archive: sha256 aaaa"):
        gather(archive, Sources(report=report_of(PASSED)))


def test_an_archive_that_cannot_be_read_has_a_page_of_its_verification(tmp_path: Path) -> None:
    path = tmp_path / "broken.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(IntegrityError):
        gather(path)
    content = gather(path, Sources(report=report_of(FAILED, sha256=None)))
    assert (content.verdict, content.packages, content.sizes) == ("failed", (), None)
    assert content.unread is not None


def test_what_advisories_say(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "X-1.json").write_text(
        '{"id": "X-1", "modified": "2026-01-01T00:00:00Z", "summary": "bad", "affected": [{"package": '
        '{"ecosystem": "PyPI", "name": "alpha"}, "versions": ["1.0"]}]}'
    )
    content = gather(archive, Sources(advisories=tmp_path / "osv"))
    found = {one.component.name: [finding.id for finding in one.findings] for one in content.packages}
    assert found == {"cpython": [], "alpha": ["X-1"]}


def test_what_changed(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = write_archive(
        tmp_path / "before" / "small-bbbbbbbbbbbb.tar.gz", Package(name="alpha", version="0.9")
    )
    difference = gather(archive, Sources(against=before)).difference
    assert difference is not None
    assert [(one.name, one.change) for one in difference.packages] == [("alpha", "changed")]


def test_checks_are_in_groups_with_what_failed_first() -> None:
    later = Check(id="archive.readable", status="passed", found="is read")
    other = Check(id="strange.check", status="omitted", found="")
    content = Content(archive="a", report=report_of(PASSED, FAILED, other, later))
    assert [(title, [check.id for check in checks]) for title, checks in content.groups()] == [
        (GROUPS["archive"], ["archive.readable"]),
        (GROUPS["system"], ["system.glibc", "system.libstdcxx"]),
        ("strange", ["strange.check"]),
    ]


def test_every_result_has_its_place() -> None:
    assert set(ORDER) == set(get_args(Status))
    assert len(ORDER) == len(set(ORDER))
    checks = [Check(id="system.glibc", status=status, found="") for status in reversed(ORDER)]
    ((_, found),) = Content(archive="a", report=report_of(*checks)).groups()
    assert tuple(check.status for check in found) == ORDER


def test_the_timeline_has_what_took_time() -> None:
    content = Content(archive="a", report=report_of(PASSED, FAILED))
    assert content.timeline() == [("import", 1.25), ("system.libstdcxx 24.10", 2.0)]
