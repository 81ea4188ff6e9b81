"""How work tells what it is doing, without knowing who listens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """One piece of work under way, measured in bytes (or in items, where ``unit`` says so)."""

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        """Count *amount* more done; *from_store* where the store already had it."""


class Reporter(Protocol):
    """Where progress goes. Thread-safe."""

    def step(self, text: str) -> None:
        """A new phase begins: one short line in words."""

    def note(self, text: str) -> None:
        """Something worth knowing that is no error (a substitute used, a store entry made again)."""

    def task(self, text: str, total: int | None, unit: str = "bytes") -> AbstractContextManager[Task]:
        """A measured piece of work: *total* in *unit*, or None where it is not known."""


class _Silent:
    def advance(self, amount: int, *, from_store: bool = False) -> None:
        pass


class SilentReporter:
    """Tells nobody. The default of every function."""

    def step(self, text: str) -> None:
        """Drop *text*."""

    def note(self, text: str) -> None:
        """Drop *text*."""

    def task(self, text: str, total: int | None, unit: str = "bytes") -> AbstractContextManager[Task]:
        """Count nothing."""
        return nullcontext(_Silent())


SILENT = SilentReporter()
