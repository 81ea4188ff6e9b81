"""Progress reporting: the interface for code that reports, independent of the display."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """A running task, measured in bytes (or in items, see ``unit``)."""

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        """Add *amount* to the progress; *from_store* if the store already had it."""


class Reporter(Protocol):
    """Receives progress. Thread-safe."""

    def step(self, text: str) -> None:
        """Report the start of a phase, in one short line."""

    def note(self, text: str) -> None:
        """Report something worth knowing that is not an error (a substitute used, a store entry rebuilt)."""

    def task(self, text: str, total: int | None, unit: str = "bytes") -> AbstractContextManager[Task]:
        """Start a measured task: *total* in *unit*, or None if unknown."""


class _Silent:
    def advance(self, amount: int, *, from_store: bool = False) -> None:
        pass


class SilentReporter:
    """Discards all progress. The default of every function."""

    def step(self, text: str) -> None:
        """Discard *text*."""

    def note(self, text: str) -> None:
        """Discard *text*."""

    def task(self, text: str, total: int | None, unit: str = "bytes") -> AbstractContextManager[Task]:
        """Discard the progress of the task."""
        return nullcontext(_Silent())


SILENT = SilentReporter()
