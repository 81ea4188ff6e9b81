from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from envbuilder.cli import terminal
from envbuilder.cli.terminal import BarReporter, LineReporter, make_reporter, show_table
from envbuilder.progress import SILENT, Task
from envbuilder.util.text import human


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    return clock


def lines_of(*, terminal: bool = False, width: int = 200) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=width, highlight=False, color_system=None), out


def test_steps_and_notes_are_lines() -> None:
    console, out = lines_of(width=20)
    reporter = LineReporter(console)
    reporter.step("Fetching [bold]everything[/bold], in a line longer than the console")
    reporter.note("made again")
    assert out.getvalue() == (
        "Fetching [bold]everything[/bold], in a line longer than the console\nnote: made again\n"
    )


def test_a_task_is_told_every_few_seconds_and_at_its_end(clock: Clock) -> None:
    console, out = lines_of()
    with LineReporter(console).task("Packing", 100_000_000) as task:
        clock.now += 4.9
        task.advance(10_000_000)
        assert out.getvalue() == ""
        clock.now += 0.1
        task.advance(10_000_000)
        assert out.getvalue() == "Packing: 20.0 MB of 100.0 MB, 4.0 MB/s, 20 s left\n"
        clock.now += 1
        task.advance(60_000_000, from_store=True)
        clock.now += 4
        task.advance(20_000_000)
    assert out.getvalue().splitlines()[1:] == [
        "Packing: 100.0 MB of 100.0 MB, 10.0 MB/s, 60 % from the store",
        "Packing: 100.0 MB in 10.0 s, 10.0 MB/s, 60 % from the store",
    ]


def test_a_task_of_unknown_length_says_no_time_left(clock: Clock) -> None:
    console, out = lines_of()
    with LineReporter(console).task("Checking", None, "files") as task:
        clock.now += 6
        task.advance(7)
    assert out.getvalue() == "Checking: 7 files\nChecking: 7 files in 6.0 s\n"


def test_a_task_that_does_nothing_or_breaks_off(clock: Clock) -> None:
    console, out = lines_of()
    with LineReporter(console).task("Packing", 0):
        pass
    assert out.getvalue() == "Packing: 0 B in 0.0 s\n"
    with pytest.raises(ValueError, match="broken"), LineReporter(console).task("Fetching", 5):
        raise ValueError("broken")
    assert "Fetching" not in out.getvalue()


def test_threads_count_together(clock: Clock) -> None:
    def count(task: Task) -> None:
        for _ in range(1000):
            task.advance(1, from_store=True)

    console, out = lines_of()
    with LineReporter(console).task("Fetching", None) as task:
        threads = [threading.Thread(target=count, args=(task,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert out.getvalue() == "Fetching: 4.0 kB in 0.0 s, 100 % from the store\n"


def test_bars_show_bytes_and_the_share_of_the_store() -> None:
    console, out = lines_of(terminal=True)
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
    assert "4.0/4.0 MB" in text
    assert "25 % from the store" in text
    assert text.count("Packing") >= 1


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


def test_the_reporter_fits_where_stderr_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_reporter(quiet=True) is SILENT
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    assert isinstance(make_reporter(quiet=False), LineReporter)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert isinstance(make_reporter(quiet=False), BarReporter)


def test_a_table_has_a_line_for_each_row_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_table(["what", "size", "where"], [("[a]", "1 B", "x" * 300), ("bb", "10 B", ""), ("c", "", "y")])
    assert capsys.readouterr().out == (
        f"what  size  where\n[a]    1 B  {'x' * 300}\nbb    10 B\nc           y\n"
    )


def test_a_table_without_rows_is_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["what", "size"], [])
    assert capsys.readouterr().out == "what  size\n"


def test_a_table_folds_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    show_table(["what", "where"], [("a", "x" * 30)])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.count("x") for line in lines) == 30
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (214_300_000, "214.3 MB"),
        (2_750_000_000, "2.75 GB"),
        (5e12, "5000.00 GB"),
    ],
)
def test_sizes_are_decimal(size: float, text: str) -> None:
    assert human(size) == text
