"""A reporter that remembers what it was told."""

from __future__ import annotations

import threading

from envbuilder.progress import SilentReporter


class Notes(SilentReporter):
    """Keeps notes and steps."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[str] = []
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Keep it."""
        with self._lock:
            self.notes.append(text)

    def step(self, text: str) -> None:
        """Keep it."""
        with self._lock:
            self.steps.append(text)
