"""Jobs in threads, with the programs that they run, all of which can be stopped.

An exception cannot be raised in a thread from outside, but a job nearly always waits for a program, which is killed.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from envbuilder.errors import EnvbuilderError

T = TypeVar("T")
_current: Final[contextvars.ContextVar[Job[Any] | None]] = contextvars.ContextVar("job", default=None)


class JobStoppedError(EnvbuilderError):
    """The job is no longer needed."""


class Job(Generic[T]):
    """One job, in a separate thread or done at once."""

    def __init__(self, work: Callable[[], T], *, nice: int = 0) -> None:
        self._work = work
        self._nice = nice
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._enders: dict[int, Callable[[], object]] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Do the work in a thread."""
        self._thread = threading.Thread(target=self._in_thread, name="job", daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Do the work here; its result or error is kept."""
        try:
            self._value = self._work()
        except BaseException as error:  # raised when the result is requested
            self._error = error

    def _in_thread(self) -> None:
        _current.set(self)
        if self._nice:
            with contextlib.suppress(OSError):  # a system without thread priorities
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        self.run()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._thread is None or not self._thread.is_alive()

    def wait(self) -> None:
        """Wait until it has ended, ignoring its result."""
        if self._thread is not None:
            self._thread.join()

    def result(self) -> T:
        """Wait until it has ended, and return what it returned.

        Raises:
            BaseException: what it raised.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set where there is no error

    def stop(self) -> None:
        """Kill its programs, and prevent it from starting others."""
        with self._lock:
            self._stopped = True
            enders = list(self._enders.values())
        for end in enders:
            end()

    def note(self, end: Callable[[], object]) -> None:
        """Call *end* when it is stopped.

        Raises:
            JobStoppedError: it has been stopped before.
        """
        with self._lock:
            if self._stopped:
                raise JobStoppedError("what this was done for has ended")
            self._enders[id(end)] = end

    def forget(self, end: Callable[[], object]) -> None:
        """Undo :meth:`note`."""
        with self._lock:
            self._enders.pop(id(end), None)


class Crew:
    """Jobs that are waited for at the end of the block; if an error ends it, they are stopped."""

    def __init__(self) -> None:
        self._jobs: list[Job[Any]] = []

    def __enter__(self) -> Crew:
        """Start nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the jobs."""
        if kind is not None:
            self.stop()
        for job in self._jobs:
            job.wait()

    def start(self, work: Callable[[], T], *, beside: bool = True, nice: int = 0) -> Job[T]:
        """Do *work* in a thread, or without *beside* before this returns.

        *nice* is the niceness of it and its programs (``nice(1)``).
        """
        job = Job(work, nice=nice)
        self._jobs.append(job)
        if beside:
            job.start()
        else:
            job.run()
        return job

    def stop(self) -> None:
        """Stop every job."""
        for job in self._jobs:
            job.stop()


@contextlib.contextmanager
def ended_by(end: Callable[[], object]) -> Iterator[None]:
    """Let this thread's job call *end* when it is stopped; no effect outside of a job.

    Raises:
        JobStoppedError: it has been stopped before.
    """
    job = _current.get()
    if job is None:
        yield
        return
    job.note(end)
    try:
        yield
    finally:
        job.forget(end)
