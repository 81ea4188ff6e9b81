"""Limit how long a slow response may take in total.

A client's timeouts apply between two bytes, so a server that sends one every few seconds could block it for days.
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
"""How many of the client's timeouts any response may take: one minute by default."""
SLOWEST: Final = 10_000
"""Minimum rate afterwards, in bytes per second: at a modem's rate, torch takes a day."""
T = TypeVar("T")


class TooSlowError(httpx2.HTTPError):
    """A server sends too slowly."""


class Patience:
    """The time limit of one response, from the creation of this object."""

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
    """Work in a separate thread, with a limit on the wait."""

    def __init__(self, work: Callable[[], T], drop: Callable[[T], object]) -> None:
        """*drop* gets a result that comes too late."""
        self._work, self._drop = work, drop
        self._result: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._given_up = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def result(self, patience: Patience) -> T:
        """Return the result of the work, or raise its error.

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
