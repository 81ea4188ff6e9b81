"""Progress of one task in words: amount, rate, time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from envbuilder.util.text import counted, human

LINE_EVERY = 5.0
"""Seconds between two lines of one task without a terminal."""
_TELLING = 0.1
"""Share of a task that must be done before its rate says when it ends: its parts differ (small wheels, torch)."""


class Counted:
    """Counts the progress of a task and describes it."""

    def __init__(self, text: str, total: int | None, unit: str, tell: Callable[[str], None]) -> None:
        self._text, self._total, self._unit = text, total, unit
        self._tell = tell
        self._done = self._from_store = 0
        self._begun = self._told = time.monotonic()
        self._ended: float | None = None
        self._lock = threading.Lock()

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        """Add *amount*; report it if the last line is old enough."""
        with self._lock:
            self._done += amount
            self._from_store += amount if from_store else 0
            now = time.monotonic()
            if now - self._told < LINE_EVERY:
                return
            self._told = now
            self._tell(f"{self._text}: {self.figures()}")

    def end(self) -> None:
        """Report the end of the task."""
        self._ended = time.monotonic()
        self._tell(f"{self._text}: {self.figures()}")

    def figures(self, *, share: bool = True) -> str:
        """Return amount, rate and time left, or the total time if the task has ended."""
        seconds = (self._ended or time.monotonic()) - self._begun
        line = _amount(self._done, self._unit)
        if self._ended is not None:
            line += f" in {seconds:.1f} s"
        elif self._total:
            done = line if self._unit == "bytes" else str(self._done)
            line = f"{done} of {_amount(self._total, self._unit)}"
        line += self._rate(seconds)
        if self._ended is None and self._total and self._total * _TELLING <= self._done < self._total:
            line += f", {_duration(seconds * (self._total - self._done) / self._done)} left"
        return line + (self._share() if share else "")

    def _rate(self, seconds: float) -> str:
        if seconds <= 0.5:
            return ""
        rate = self._done / seconds
        if self._unit == "bytes":
            return f", {human(rate)}/s"
        return f", {rate:.0f}/s" if rate >= 10 else ""

    def _share(self) -> str:
        return f", {_from_store(self._from_store, self._done)}" if self._from_store else ""


def _from_store(amount: int, done: int) -> str:
    return f"{100 * amount / done:.0f} % from the store"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _amount(number: int, unit: str) -> str:
    return human(number) if unit == "bytes" else counted(number, unit.removesuffix("s"))
