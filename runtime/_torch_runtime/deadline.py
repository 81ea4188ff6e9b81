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
"""Seconds between two calls of ``too_much``."""
AGAIN = 1.0
"""Seconds until an exception that was lost in a destructor is raised again."""


class OutOfTimeError(BaseException):
    """Compiling exceeds a limit. Not an ``Exception``, so that a compiler's own handlers let it through."""


class Deadline:
    """A context that ends its work by an :class:`OutOfTimeError` after *seconds*, or when *too_much* returns true.

    On the main thread, where Triton's stub loads a model, a signal handler raises it, which also interrupts waiting
    for a compiler. On another thread it is raised between two bytecode instructions.
    """

    def __init__(
        self, seconds: float, tell: Callable[[float], None], too_much: Callable[[], bool] = bool
    ) -> None:
        """Prepare the context.

        Args:
            seconds: the time limit.
            tell: called every :data:`TICK` seconds, on another thread, with the elapsed seconds.
            too_much: called every :data:`POLL` seconds on that thread; true ends the work.
        """
        self._seconds, self._tell, self._too_much = seconds, tell, too_much
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="compile-deadline", daemon=True)
        self._began = 0.0
        self._target = 0
        self._before: Any = None
        self._signals = False
        self._raised = False

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
        if self._raised and isinstance(error, Exception):
            # What was interrupted made another error of it: a guard of Dynamo, evaluated in C++, is just false then.
            raise OutOfTimeError from error

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if not self._over.is_set():
            self._raised = True
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
            self._raised = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._target), ctypes.py_object(OutOfTimeError)
            )
