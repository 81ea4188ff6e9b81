"""A time limit for compiling: progress every few seconds, and an exception when the time is up."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Callable

TICK = 5.0
"""Seconds between two lines of progress."""
POLL = 0.5
"""Seconds between two looks at whether the work has become too much."""
AGAIN = 1.0
"""Seconds until an exception that was lost in a destructor is raised again."""


class OutOfTimeError(BaseException):
    """Compiling takes longer, or makes more, than it may. No ``Exception``: handlers of compilers must let it by."""


class Deadline:
    """A context in which work ends when *seconds* are over, or it is too much, by an :class:`OutOfTimeError`.

    On the main thread, where Triton's stub loads a model, it is a signal that raises it: that ends waiting for a
    compiler, too. Elsewhere it comes between two steps of Python.
    """

    def __init__(
        self, seconds: float, tell: Callable[[float], None], too_much: Callable[[], bool] = bool
    ) -> None:
        """Prepare the context.

        Args:
            seconds: after these the work ends.
            tell: called every few seconds, on another thread, with the seconds that have passed.
            too_much: called more often there; the work ends when it says so.
        """
        self._seconds, self._tell, self._too_much = seconds, tell, too_much
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="compile-deadline", daemon=True)
        self._began = 0.0
        self._target = 0
        self._before: Any = None
        self._signals = False

    def __enter__(self) -> Deadline:
        self._began, self._target = time.monotonic(), threading.get_ident()
        self._signals = threading.current_thread() is threading.main_thread()
        if self._signals:
            self._before = signal.signal(signal.SIGALRM, self._raise)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while True:
            try:
                self._over.set()
                self._thread.join()
                break
            except OutOfTimeError:  # the time was up just as the work ended
                continue
        if self._signals:
            signal.signal(signal.SIGALRM, self._before or signal.SIG_DFL)

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if not self._over.is_set():
            raise OutOfTimeError

    def _watch(self) -> None:
        told, ending = 0.0, False
        while True:
            left = self._seconds - self.passed
            if self._over.wait(AGAIN if ending or left <= 0 else min(POLL, TICK, left)):
                return
            ending = ending or self.passed >= self._seconds or self._too_much()
            if ending:
                self._interrupt()
            elif self.passed - told >= TICK:
                told = self.passed
                self._tell(told)

    def _interrupt(self) -> None:
        if self._signals:
            signal.pthread_kill(self._target, signal.SIGALRM)
        else:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._target), ctypes.py_object(OutOfTimeError)
            )
