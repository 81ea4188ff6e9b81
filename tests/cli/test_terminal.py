from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

import click
import pytest
from click.testing import CliRunner

from envbuilder.cli import counted
from envbuilder.cli.bars import BarReporter
from envbuilder.cli.tables import show_table
from envbuilder.cli.terminal import LineReporter, make_reporter
from envbuilder.progress import SILENT, Task
from envbuilder.util.text import human
from tests.cli.conftest import lines_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(counted, "time", clock)
    return clock


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_those_that_are_wanted(variables: dict[str, str], coloured: bool) -> None:
    """On a terminal that has them, notes and bars are coloured, unless NO_COLOR is set."""
    code = (
        "from envbuilder.cli.terminal import make_reporter\n"
        "reporter = make_reporter(quiet=False)\n"
        "reporter.note('a note')\n"
        "with reporter.task('Packing', 10) as task: task.advance(10)\n"
    )
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "120", **variables}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert "note: a note" in text
    assert "Packing" in text
    colours = re.findall(r"\x1b\[[\d;]*(?:3[0-7]|38;5;\d+|9[0-7])[\d;]*m", text)
    assert bool(colours) is coloured


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


def test_a_task_counts_in_its_own_unit(clock: Clock) -> None:
    console, out = lines_of()
    with LineReporter(console).task("Checking", 6000, "files") as task:
        clock.now += 6
        task.advance(600)
    assert out.getvalue() == (
        "Checking: 600 of 6000 files, 100/s, 54 s left\nChecking: 600 files in 6.0 s, 100/s\n"
    )


def test_a_verb_shows_that_time_passes_until_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the start, and after each step and task; nothing of it stays on the screen."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    shown: list[bool] = []

    @click.command()
    def verb() -> None:
        reporter = make_reporter(quiet=False)
        assert isinstance(reporter, BarReporter)
        shown.append(reporter.waiting)
        with reporter.task("a task", 10):
            shown.append(reporter.waiting)
        shown.append(reporter.waiting)
        show_table(["what"], [["printed"]])
        shown.append(reporter.waiting)
        reporter.step("a step")
        shown.append(reporter.waiting)
        verb_reporters.append(reporter)

    verb_reporters: list[BarReporter] = []
    result = CliRunner().invoke(verb)
    assert result.exit_code == 0, result.output
    assert shown == [True, False, True, False, True]
    assert [reporter.waiting for reporter in verb_reporters] == [False]
    assert "0:00:00" in result.stderr


def test_the_reporter_fits_where_stderr_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_reporter(quiet=True) is SILENT
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    assert isinstance(make_reporter(quiet=False), LineReporter)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert isinstance(make_reporter(quiet=False), BarReporter)


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
