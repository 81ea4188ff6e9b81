"""Signals that ask this process to end (SIGINT, SIGTERM, SIGHUP) as one exception, and an exit that does not block.

The first of them is raised as :class:`Interrupted` in the main thread, whose ``finally`` blocks then clean up; further
ones change nothing. Where that takes longer than :data:`GRACE`, since another thread is busy, the process ends all the
same: see :func:`envbuilder.util.leftovers.finish`. A signal that is ignored when the process starts stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Container, Iterator
from types import FrameType
from typing import Any, Final, NoReturn

from envbuilder.util import leftovers

GRACE: Final = 1.0
"""Seconds that the main thread gets to clean up."""
_WATCHER: Final = "signals"
_LOOK_EVERY: Final = 0.05
_WORDS: Final = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


class Interrupted(BaseException):
    """A signal asks this process to end. Not an :class:`Exception`, so that no handler continues after it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    def __init__(self) -> None:
        self.received: int | None = None
        self.shields = 0
        self.raised = False
        self.saying = threading.Lock()


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle signals in the block, which is the whole program; if one arrived, end the process afterwards."""
    install()
    try:
        yield
    except BaseException:
        # Whatever the interruption became in the end: an error of what cleans up, or of a program that was killed.
        if _state.received is None:
            raise
    finally:
        if _state.received is not None:
            _end(_state.received)


def install() -> None:
    """Handle signals from now on. Call it once, early, from the main thread."""
    end, pipe = os.pipe()
    os.set_blocking(pipe, False)
    handled = []
    for number in leftovers.ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)
            handled.append(int(number))
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_failed
    # A handler runs when the main thread comes back to Python; this thread is told by the kernel.
    signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(end, handled), name=_WATCHER, daemon=True).start()


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Delay :class:`Interrupted` until the block is left: for steps that must not be separated."""
    if threading.current_thread() is not threading.main_thread():  # nothing is raised there anyway
        yield
        return
    _state.shields += 1
    try:
        yield
    finally:
        _state.shields -= 1
        _raise()


def _end(number: int) -> NoReturn:
    """End the process: clean up, print one line that says why, exit with 128 + *number*."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (
            OSError,
            ValueError,
        ):  # the terminal was closed, or the reader is gone; not to be found out once more
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    leftovers.remove_all()
    _say(number)
    if {thread.name for thread in threading.enumerate()} <= {threading.current_thread().name, _WATCHER}:
        sys.exit(128 + number)
    leftovers.finish(128 + number)  # the interpreter would wait for the others, or they go on while it ends


def _receive(number: int, _: FrameType | None) -> None:
    _state.received = _state.received or number
    _raise()


def _raise() -> None:
    if _state.received is not None and not _state.raised and not _state.shields:
        _state.raised = True
        raise Interrupted(_state.received)


def _unraisable(found: Any) -> None:
    if isinstance(found.exc_value, Interrupted):
        _state.raised = (
            False  # it came in a destructor, from which the interpreter lets nothing out: once more
        )
    else:
        sys.__unraisablehook__(found)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if _state.received is None:  # else its programs were killed and its folders removed: no wonder
        threading.__excepthook__(failure)


def _watch(end: int, handled: Container[int]) -> None:
    """Wait for a signal; kill the programs that the main thread may wait for, then the process if it does not end."""
    number = os.read(end, 1)[0]
    while number not in handled:
        number = os.read(end, 1)[0]
    main = threading.main_thread().ident
    assert main is not None
    leftovers.kill_programs()
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)
        if not _state.raised and not _state.shields:
            signal.pthread_kill(main, number)
    _say(_state.received or number)
    leftovers.finish(128 + (_state.received or number))


def _say(number: int) -> None:
    """Print once, from whichever thread is first, why the process ends."""
    if not _state.saying.acquire(blocking=False):
        return
    with contextlib.suppress(OSError):
        cursor = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides it
        os.write(2, cursor + _WORDS[signal.Signals(number)].encode() + b"\n")
