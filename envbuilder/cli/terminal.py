"""What the command line shows: progress on standard error, tables on standard output."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from envbuilder.cli.streams import beneath
from envbuilder.progress import SILENT, Reporter, Task
from envbuilder.util.printable import printable, printable_line
from envbuilder.util.text import human

_LINE_EVERY = 5.0
"""Seconds between two lines of one task where there is no terminal."""

_WIDE = 10_000
"""Columns of what is no terminal."""


def make_reporter(*, quiet: bool) -> Reporter:
    """Return a reporter for standard error: bars on a terminal, lines elsewhere, nothing with *quiet*."""
    if quiet:
        return SILENT
    console = Console(file=beneath(sys.stderr), highlight=False)
    return BarReporter(console) if console.is_terminal else LineReporter(console)


class LineReporter:
    """Progress as plain lines, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Print a phase."""
        self._print(text)

    def note(self, text: str) -> None:
        """Print a note."""
        self._print(f"note: {text}")

    @contextmanager
    def task(self, text: str, total: int | None, unit: str = "bytes") -> Iterator[Task]:
        """Print a line every few seconds, and one at the end."""
        counted = _Counted(text, total, unit, self._print)
        yield counted
        counted.end()

    def _print(self, text: str) -> None:
        self._console.print(printable_line(text), markup=False, soft_wrap=True)


class _Counted:
    def __init__(self, text: str, total: int | None, unit: str, tell: Callable[[str], None]) -> None:
        self._text, self._total, self._unit = text, total, unit
        self._tell = tell
        self._done = self._from_store = 0
        self._begun = self._told = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        with self._lock:
            self._done += amount
            self._from_store += amount if from_store else 0
            now = time.monotonic()
            if now - self._told < _LINE_EVERY:
                return
            self._told = now
            self._tell(self._line(now))

    def end(self) -> None:
        seconds = time.monotonic() - self._begun
        done = f"{_amount(self._done, self._unit)} in {seconds:.1f} s"
        self._tell(f"{self._text}: {done}{self._rate(seconds)}{self._share()}")

    def _line(self, now: float) -> str:
        seconds = now - self._begun
        line = f"{self._text}: {_amount(self._done, self._unit)}"
        if self._total:
            line += f" of {_amount(self._total, self._unit)}"
        line += self._rate(seconds)
        if self._total and 0 < self._done < self._total:
            line += f", {seconds * (self._total - self._done) / self._done:.0f} s left"
        return line + self._share()

    def _rate(self, seconds: float) -> str:
        return f", {human(self._done / seconds)}/s" if self._unit == "bytes" and seconds > 0.5 else ""

    def _share(self) -> str:
        return f", {_from_store(self._from_store, self._done)}" if self._from_store else ""


class BarReporter:
    """Progress as bars, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._users = 0

    def step(self, text: str) -> None:
        """Print a phase."""
        self._console.print(printable_line(text), markup=False)

    def note(self, text: str) -> None:
        """Print a note."""
        self._console.print(f"note: {printable_line(text)}", markup=False, style="yellow")

    @contextmanager
    def task(self, text: str, total: int | None, unit: str = "bytes") -> Iterator[Task]:
        """Show a bar: bytes, rate, time left, share from the store."""
        with self._shown() as progress:
            number = progress.add_task(printable_line(text), total=total, store="")
            yield _Bar(progress, number)
            progress.update(number, total=total or progress.tasks[number].completed)

    @contextmanager
    def _shown(self) -> Iterator[Progress]:
        with self._lock:
            self._users += 1
            if self._progress is None:
                self._progress = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    DownloadColumn(binary_units=False),
                    TransferSpeedColumn(),
                    TimeRemainingColumn(),
                    TextColumn("{task.fields[store]}"),
                    console=self._console,
                    # Redirected, what others print would reach the terminal through rich, which leaves it as it is.
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._progress.start()
            progress = self._progress
        try:
            yield progress
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    progress.stop()
                    self._progress = None


class _Bar:
    def __init__(self, progress: Progress, number: TaskID) -> None:
        self._progress = progress
        self._number = number
        self._done = self._from_store = 0
        self._lock = threading.Lock()

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        with self._lock:
            self._done += amount
            self._from_store += amount if from_store else 0
            share = _from_store(self._from_store, self._done) if self._from_store else ""
        self._progress.update(self._number, advance=amount, store=share)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to standard output; a column of numbers stands right.

    On a terminal, text folds within its column. Elsewhere each row is one line, however long.
    """
    cells = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, show_edge=False)
    for number, heading in enumerate(headings):
        numeric = all(row[number][:1].isdigit() or not row[number] for row in cells)
        made.add_column(heading, justify="right" if numeric and cells else "left", overflow="fold")
    for row in cells:
        made.add_row(*(Text(printable(cell)) for cell in row))
    stream = beneath(sys.stdout)
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    with console.capture() as capture:
        console.print(made)
    for line in capture.get().splitlines():
        print(line.rstrip(), file=stream)


def _from_store(amount: int, done: int) -> str:
    return f"{100 * amount / done:.0f} % from the store"


def _amount(number: int, unit: str) -> str:
    return human(number) if unit == "bytes" else f"{number} {unit}"
