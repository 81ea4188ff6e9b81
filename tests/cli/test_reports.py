from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import call, report_of, verified


def test_a_report_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    verified(monkeypatch, report_of())
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz", "--report", "a.tar.gz/r.json")
    assert result.stderr == "error: a.tar.gz/r.json cannot be written: File exists\n"
    assert result.exit_code == 2
