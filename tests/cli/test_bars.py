from __future__ import annotations

import pytest

from envbuilder.cli.bars import BarReporter
from tests.cli.conftest import lines_of


@pytest.mark.parametrize("width", [200, 80, 50])
def test_bars_show_bytes_and_the_share_of_the_store(width: int) -> None:
    """What there is no room for is left out whole; figures never lose a digit."""
    console, out = lines_of(terminal=True, width=width)
    reporter = BarReporter(console)
    reporter.step("A [step]")
    with reporter.task("Fetching", 4_000_000) as one:
        one.advance(1_000_000, from_store=True)
        with reporter.task("Packing", None) as other:
            other.advance(5)
            reporter.note("a note [meanwhile]")
        one.advance(3_000_000)
    text = out.getvalue()
    assert "A [step]\n" in text
    assert "note: a note [meanwhile]" in text
    assert "4.0 MB in 0.0 s" in text
    assert ("25 % from the store" in text) is (width == 200)
    assert ("━" in text) is (width >= 80)
    assert text.count("Packing") >= 1
    reporter.pause()


def test_bars_end_with_the_last_task_and_begin_again() -> None:
    console, out = lines_of(terminal=True)
    reporter = BarReporter(console)
    with reporter.task("One", 10) as task:
        task.advance(10)
    with pytest.raises(ValueError, match="broken"), reporter.task("Two", 10):
        raise ValueError("broken")
    before = len(out.getvalue())
    with reporter.task("Three", 10) as task:
        task.advance(10)
    assert "Three" in out.getvalue()[before:]
    assert "One" not in out.getvalue()[before:]
