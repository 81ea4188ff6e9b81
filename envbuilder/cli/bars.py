"""Progress on a terminal, drawn by rich."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Task as Shown
from rich.table import Column
from rich.text import Text

from envbuilder.cli.counted import Counted
from envbuilder.progress import Task
from envbuilder.util.printable import printable_line

_BAR_FROM = 80
_SHARE_FROM = 100
"""Smallest width in columns for a bar next to the figures, and for the share from the store."""


class BarReporter:
    """Progress on a terminal: a bar for each task, and a spinner with the elapsed time between tasks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._spinner: Progress | None = None
        self._users = 0

    def step(self, text: str) -> None:
        """Print a phase and start the spinner."""
        with self._lock:
            self._stop_spinner()
            self._console.print(printable_line(text), markup=False)
            self._start_spinner()

    def note(self, text: str) -> None:
        """Print a note."""
        self._console.print(f"note: {printable_line(text)}", markup=False, style="yellow")

    @contextmanager
    def task(self, text: str, total: int | None, unit: str = "bytes") -> Iterator[Task]:
        """Show a bar: amount, rate, time left, share from the store."""
        with self._shown() as progress:
            counted = Counted(text, total, unit, lambda _: None)
            number = progress.add_task(printable_line(text), total=total, counted=counted)
            yield _Bar(progress, number, counted)
            counted.end()
            progress.update(number, total=total or progress.tasks[number].completed)

    @property
    def waiting(self) -> bool:
        """Whether the spinner is shown."""
        return self._spinner is not None

    def wait(self) -> None:
        """Show the spinner until something is printed."""
        with self._lock:
            self._start_spinner()

    def pause(self) -> None:
        """Hide the spinner while something else is printed."""
        with self._lock:
            self._stop_spinner()

    def _start_spinner(self) -> None:
        if self._bars is None and self._spinner is None:
            self._spinner = self._progress(SpinnerColumn(), TimeElapsedColumn(), transient=True)
            self._spinner.add_task("", total=None)
            self._spinner.start()

    def _stop_spinner(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    def _progress(self, *columns: ProgressColumn, transient: bool = False) -> Progress:
        return Progress(
            *columns,
            console=self._console,
            transient=transient,
            expand=not transient,
            # If redirected, other output would reach the terminal through rich, unescaped.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    @contextmanager
    def _shown(self) -> Iterator[Progress]:
        with self._lock:
            self._users += 1
            if self._bars is None:
                self._stop_spinner()
                columns: list[ProgressColumn] = [
                    TextColumn(
                        "{task.description}",
                        markup=False,
                        table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                    ),
                    _Figures(share=self._console.width >= _SHARE_FROM),
                ]
                if self._console.width >= _BAR_FROM:
                    columns.insert(1, BarColumn(bar_width=10))
                self._bars = self._progress(*columns)
                self._bars.start()
            progress = self._bars
        try:
            yield progress
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    progress.stop()
                    self._bars = None
                    self._start_spinner()


class _Figures(ProgressColumn):
    max_refresh = 0.2

    def __init__(self, *, share: bool) -> None:
        super().__init__(table_column=Column(no_wrap=True, justify="right"))
        self._share = share

    def render(self, task: Shown) -> Text:
        return Text(task.fields["counted"].figures(share=self._share))


class _Bar:
    def __init__(self, progress: Progress, number: TaskID, counted: Counted) -> None:
        self._progress = progress
        self._number = number
        self._counted = counted

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        self._counted.advance(amount, from_store=from_store)
        self._progress.update(self._number, advance=amount)
