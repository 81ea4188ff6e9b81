from __future__ import annotations

import pytest

from envbuilder.progress import SILENT, Reporter


def test_the_silent_reporter_is_one_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter: Reporter = SILENT
    reporter.step("a step")
    reporter.note("a note")
    with reporter.task("a task", 10) as task, reporter.task("another", None, "files") as other:
        task.advance(5)
        other.advance(5, from_store=True)
    assert capsys.readouterr() == ("", "")
