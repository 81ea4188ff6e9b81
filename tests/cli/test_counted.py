from __future__ import annotations

import pytest

from envbuilder.cli import counted
from envbuilder.cli.counted import Counted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in one place."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_it_tells_every_few_seconds_and_at_the_end(clock: list[float]) -> None:
    told: list[str] = []
    task = Counted("Reading", 100, "B", told.append)
    task.advance(10)
    clock[0] = counted.LINE_EVERY
    task.advance(40)
    task.advance(10)
    clock[0] = 2 * counted.LINE_EVERY
    task.advance(40)
    task.end()
    assert len(told) == 3
    assert all(line.startswith("Reading: ") for line in told)
    assert "50" in told[0]
    assert "100" in told[-1]


def test_the_time_left_waits_for_a_tenth(clock: list[float]) -> None:
    task = Counted("Packing", 1000, "bytes", lambda _: None)
    clock[0] = 10.0
    task.advance(99)
    assert "left" not in task.figures()
    task.advance(1)
    assert task.figures().endswith(", 90 s left")
