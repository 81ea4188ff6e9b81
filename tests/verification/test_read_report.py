from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import RecipeError
from envbuilder.verification.read_report import read_report
from tests.html_report.conftest import FAILED, PASSED, report_of


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for report in (report_of(PASSED, FAILED), report_of(FAILED, sha256=None)):
        path.write_text(report.json())
        assert read_report(path) == report


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format: expected"),
        ({"checks": [{"id": 1}]}, "checks[0]"),
        ({"checks": "none"}, "checks: expected a list"),
        ({"environment": {"a": 1}}, "environment"),
        ({"seconds": -1}, "seconds: expected"),
        ({"isolated": "yes"}, "isolated: expected"),
    ],
)
def test_what_is_no_report(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**json.loads(report_of(PASSED).json()), **change}))
    with pytest.raises(RecipeError) as caught:
        read_report(path)
    assert said in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        read_report(tmp_path / "none.json")
