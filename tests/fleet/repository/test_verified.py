"""What is kept of verifications, beside the archive."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.fleet.repository.verified import Verified, read_verified, verified_of, write_verified
from envbuilder.verification.report import Report, failed, passed

SHA256 = "1" * 64
ONE = Verified(model="net", time="2026-01-01T00:00:00+00:00", passed=True, server="2.60", summary="1 passed")
OTHER = replace(ONE, model="own", passed=False, server=None, failed=("probe.answer",))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "small-0123456789ab.tar.gz"


def test_what_is_kept_is_read_again(archive: Path) -> None:
    known = {"a" * 64: ONE, "b" * 64: OTHER}
    write_verified(archive, SHA256, known)
    assert [path.name for path in archive.parent.iterdir()] == ["small-0123456789ab.verified.json"]
    assert read_verified(archive, SHA256) == known


def test_what_is_of_another_archive_does_not_count(archive: Path) -> None:
    assert read_verified(archive, SHA256) == {}
    write_verified(archive, SHA256, {"a" * 64: ONE})
    assert read_verified(archive, "2" * 64) == {}


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"sha256": "x"}, {"models": []}, {"models": {"a": {"model": "net"}}}]
)
def test_what_cannot_be_read_is_as_if_it_were_not_there(archive: Path, change: dict[str, object]) -> None:
    write_verified(archive, SHA256, {"a" * 64: ONE})
    (path,) = archive.parent.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert read_verified(archive, SHA256) == {}
    path.write_bytes(b"\xff")
    assert read_verified(archive, SHA256) == {}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IntegrityError, match=r"small-1\.verified\.json cannot be written: "):
        write_verified(tmp_path / "file" / "small-1.tar.gz", SHA256, {})


def test_of_a_report_its_verdict_is_kept() -> None:
    report = Report(
        archive="envs/small-1.tar.gz",
        sha256=SHA256,
        size=1,
        unpacked_size=1,
        recipe="small",
        releases=("25.06",),
        isolated=True,
        server="2.60",
        checks=(
            passed("archive.name", "x"),
            failed("probe.answer", "y", "z"),
            failed("probe.answer", "u", "v"),
        ),
        seconds=1.0,
    )
    found = verified_of("net", report)
    assert (found.model, found.passed, found.server, found.failed) == (
        "net",
        False,
        "2.60",
        ("probe.answer",),
    )
    assert found.summary == "1 passed, 2 failed (1 s)"
    assert found.time.endswith("+00:00")
    assert verified_of("net", replace(report, checks=report.checks[:1])).passed
