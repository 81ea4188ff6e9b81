from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from envbuilder.cli import cli
from tests.helpers.inventories import Package, write_archive
from tests.html_report.conftest import PASSED, report_of, write_report


def test_a_page_beside_the_archive(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "small-aaaaaaaaaaaa.tar.gz", Package(name="alpha"))
    result = CliRunner().invoke(cli, ["report", str(archive)])
    assert result.exit_code == 0, result.output
    page = tmp_path / "small-aaaaaaaaaaaa.tar.gz.html"
    assert result.stdout == f"{page}: open it in a browser\n"
    assert "alpha" in page.read_text()


def test_a_verification_of_another_archive(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "small-aaaaaaaaaaaa.tar.gz", Package(name="alpha"))
    report = write_report(tmp_path / "report.json", report_of(PASSED))
    result = CliRunner().invoke(cli, ["report", str(archive), "--report", str(report), "--json"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the verification is of another archive")
    assert not (tmp_path / "small-aaaaaaaaaaaa.tar.gz.html").exists()


def test_the_page_of_a_verification_is_written_whatever_ends_it(tmp_path: Path) -> None:
    archive = tmp_path / "broken.tar.gz"
    archive.write_bytes(b"no archive")
    page, report = tmp_path / "page.html", tmp_path / "report.json"
    command = ["verify", str(archive), "--html", str(page), "--report", str(report), "-q"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 7
    assert json.loads(report.read_text())["passed"] is False
    assert "Failed: " in page.read_text()
