"""How long an answer is waited for, however slowly it comes.

A client's timeouts count from byte to byte, in headers as in the body: a server that sends one each few seconds holds
it for days.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import httpx2

from envbuilder.util.text import human

GRACE: Final = 4.0
"""How many of the client's timeouts an answer may take however slow it is: a minute, where nothing else is set."""
SLOWEST: Final = 10_000
"""Bytes a second from then on: a modem's, and torch takes a day at that."""
T = TypeVar("T")


class TooSlowError(httpx2.HTTPError):
    """A server sends, but so slowly that nobody would wait for it."""


class Patience:
    """The time that one answer may take; it begins when this is made."""

    def __init__(self, timeout: float | None) -> None:
        """*timeout* is the client's, in seconds."""
        self._began = time.monotonic()
        self._grace = GRACE * (timeout or 15.0)

    def extend(self, seconds: float) -> None:
        """Do not count *seconds* that the server asked to wait."""
        self._grace += seconds

    def left(self, received: int) -> float:
        """Return how many seconds may pass until something comes, if *received* bytes have come; 0.0: none."""
        return max(self._began + self._grace + received / SLOWEST - time.monotonic(), 0.0)

    def over(self, received: int) -> TooSlowError:
        """Return the error for an answer of which *received* bytes have come."""
        return TooSlowError(f"too slow: {human(received)} in {time.monotonic() - self._began:.0f} s")


class Errand(Generic[T]):
    """Work on a thread of its own, which is not waited for without end."""

    def __init__(self, work: Callable[[], T], drop: Callable[[T], object]) -> None:
        """*drop* is given a result that nobody waits for any more."""
        self._work, self._drop = work, drop
        self._result: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._given_up = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def result(self, patience: Patience) -> T:
        """Return what came of the work, or raise its error.

        Raises:
            TooSlowError: it takes too long.
        """
        try:
            found, error = self._result.get(timeout=patience.left(0))
        except queue.Empty:
            self._given_up.set()
            raise patience.over(0) from None
        if error is not None:
            raise error
        return found  # type: ignore[return-value]  # None only where there is an error, or where the work gives it

    def _run(self) -> None:
        try:
            found = self._work()
        except BaseException as error:  # raised again in the waiting thread
            self._result.put((None, error))
            return
        self._result.put((found, None))
        if self._given_up.is_set():
            self._drop(found)
