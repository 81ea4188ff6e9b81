"""Progress on standard error. rich is imported only if it draws: it takes a tenth of a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from envbuilder.cli.counted import Counted
from envbuilder.cli.streams import before_output, beneath
from envbuilder.progress import SILENT, Reporter, Task
from envbuilder.util.printable import printable_line

if TYPE_CHECKING:
    from rich.console import Console


def make_reporter(*, quiet: bool) -> Reporter:
    """Return a reporter for standard error: bars on a terminal, lines otherwise, nothing with *quiet*."""
    if quiet:
        return SILENT
    from rich.console import Console

    console = Console(file=beneath(sys.stderr), highlight=False)
    if not console.is_terminal:
        return LineReporter(console)
    from envbuilder.cli.bars import BarReporter

    reporter = BarReporter(console)
    context = click.get_current_context(silent=True)
    if context is not None:  # show the spinner while the command runs, until it ends or prints
        context.with_resource(before_output(reporter.pause))
        reporter.wait()
    return reporter


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
        counted = Counted(text, total, unit, self._print)
        yield counted
        counted.end()

    def _print(self, text: str) -> None:
        self._console.print(printable_line(text), markup=False, soft_wrap=True)
