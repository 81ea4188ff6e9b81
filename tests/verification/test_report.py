"""The report: for machines by its schema, for CI as JUnit, for a person as rows."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

import envbuilder.verification
from envbuilder.verification.report import Check, Report, report_schema, some
from tests.helpers.environments import environment, pack

CHECKS = (
    Check(id="archive.readable", status="passed", found="20 files", seconds=1.5),
    Check(id="layout.libpython", status="failed", found="none \x1b[1m", fix="add <it>", release="25.06"),
    Check(id="archive.name", status="warning", found="env.tar.gz", fix="name it"),
    Check(id="server.start", status="omitted", found="no server"),
)


def report(*checks: Check) -> Report:
    return Report(
        archive="envs/x.tar.gz",
        sha256="0" * 64,
        size=10,
        unpacked_size=20,
        recipe="x",
        releases=("25.06",),
        isolated=True,
        server=None,
        environment={"torch": "2.13.0"},
        checks=checks,
        seconds=61.7,
    )


def test_the_schema_beside_the_code_is_the_codes() -> None:
    file = Path(envbuilder.verification.__file__).with_name("report.schema.json")
    assert json.loads(file.read_text()) == report_schema()


def test_json_is_what_the_schema_says() -> None:
    data = json.loads(report(*CHECKS).json())
    jsonschema.validate(data, report_schema())
    assert data["passed"] is False
    assert data["checks"][1] == {
        "id": "layout.libpython",
        "status": "failed",
        "found": "none \x1b[1m",
        "fix": "add <it>",
        "release": "25.06",
        "seconds": 0.0,
    }


def test_the_schema_refuses_what_is_no_report() -> None:
    data = json.loads(report(*CHECKS).json())
    changes: list[dict[str, object]] = [{"sha256": "x"}, {"more": 1}, {"releases": [1]}]
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**data, **change}, report_schema())


def test_junit() -> None:
    suite = ET.fromstring(report(*CHECKS).junit())[0]
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "envbuilder verify envs/x.tar.gz",
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "61.700",
    }
    cases = [(case.get("classname"), case.get("name"), case.get("time"), case[0].tag) for case in suite]
    assert cases == [
        ("envbuilder.verify.archive", "archive.readable", "1.500", "system-out"),
        ("envbuilder.verify.25_06", "layout.libpython", "0.000", "failure"),
        ("envbuilder.verify.archive", "archive.name", "0.000", "system-out"),
        ("envbuilder.verify.archive", "server.start", "0.000", "skipped"),
    ]
    assert (suite[1][0].get("message"), suite[1][0].text) == ("none \\u001b[1m", "none \\u001b[1m\nadd <it>")
    assert suite[2][0].text == "env.tar.gz\nname it"
    assert suite[3][0].get("message") == "no server"


def test_rows_and_summary() -> None:
    assert report(*CHECKS).rows() == [
        ("archive.readable", "", "passed", "20 files"),
        ("layout.libpython", "25.06", "failed", "none \x1b[1m\n→ add <it>"),
        ("archive.name", "", "warning", "env.tar.gz\n→ name it"),
        ("server.start", "", "omitted", "no server"),
    ]
    assert report(*CHECKS).summary() == (
        "envs/x.tar.gz: 1 passed, 1 failed, 1 with a warning, 1 omitted (62 s)"
    )


def test_what_was_proven_before_is_marked_with_its_day() -> None:
    check = Check(id="a", status="passed", found="f", proven="2026-11-30T12:36:00+00:00")
    assert report(check).rows() == [("a", "", "passed", "f (proven 2026-11-30)")]


def test_passed_unless_a_check_failed() -> None:
    assert report(*CHECKS[2:]).passed
    assert not report(*CHECKS).passed
    assert report(*CHECKS).failures == (CHECKS[1],)


@pytest.mark.parametrize(("count", "text"), [(0, ""), (2, "0, 1"), (8, "0, 1, 2, 3, 4, 5, 6, 7")])
def test_a_list_in_words(count: int, text: str) -> None:
    assert some([str(n) for n in range(count)]) == text


def test_a_long_list_in_words() -> None:
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"


def test_the_command_line_ends_with_7_where_a_check_failed(tmp_path: Path) -> None:
    tree = environment()
    broken = {path: content for path, content in tree.items() if path != "bin/activate"}
    archive = pack(broken, tmp_path, listed=tree)
    files = [tmp_path / "report.json", tmp_path / "junit.xml"]
    command = ["verify", str(archive), "--report", str(files[0]), "--junit", str(files[1]), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", "from envbuilder.cli import main; main()", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "2 checks failed: layout.activate, manifest.files" in done.stderr
    data = json.loads(files[0].read_text())
    jsonschema.validate(data, report_schema())
    omitted = {c["id"]: c["found"] for c in data["checks"] if c["status"] == "omitted"}
    assert omitted.pop("manifest.origin").startswith(
        "not known: numpy-1.26.4.whl (it is neither in the store"
    )
    assert omitted == {"contract.launch": "nothing was run: layout.activate, manifest.files failed"}
    assert ET.fromstring(files[1].read_text())[0].get("failures") == "2"
