"""The two output streams of the command line, on which terminal control sequences in foreign text are escaped.

Everything written to :data:`sys.stdout` and :data:`sys.stderr`, by click, by :func:`print`, by a warning or a
traceback, passes through :func:`~envbuilder.util.printable.printable`. The output of rich contains its own escape
codes: it goes to the underlying stream, and its texts are escaped before rich sees them
(:mod:`envbuilder.cli.terminal`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from envbuilder.errors import EnvbuilderError
from envbuilder.util.printable import printable

_before: list[Callable[[], None]] = []


@contextlib.contextmanager
def before_output(call: Callable[[], None]) -> Iterator[None]:
    """Call *call* before anything is written in the block, and at its end: progress leaves the terminal to it."""
    _before.append(call)
    try:
        yield
    finally:
        _before.remove(call)
        call()


def make_way() -> None:
    """Say that something is about to be written."""
    for call in [*_before]:
        call()


class OutputError(EnvbuilderError):
    """Standard output cannot be written, for example because the disk is full."""


class GuardedStream(io.TextIOWrapper):
    """A text stream that escapes everything unprintable."""

    def __init__(self, beneath: io.TextIOWrapper, *, of_results: bool = True) -> None:
        # If the stream's encoding is ASCII, click wraps the same buffer in a stream of its own, in UTF-8.
        plain = beneath.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968")
        super().__init__(
            beneath.buffer,
            encoding="utf-8" if plain else beneath.encoding,
            errors="backslashreplace",
            line_buffering=beneath.line_buffering,
            write_through=True,
        )
        self.beneath = beneath
        """Closing it would close the shared buffer: it is kept alive as long as this one."""
        self._of_results = of_results

    def write(self, text: str) -> int:
        """Write *text* escaped; return its original length.

        Raises:
            OutputError: standard output cannot be written. Errors on standard error are ignored.
        """
        make_way()
        with self._telling():
            super().write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Flush the buffer.

        Raises:
            OutputError: as :meth:`write` does.
        """
        with self._telling():
            super().flush()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.EPIPE:  # click exits quietly on a broken pipe
                raise
            self._forget()
            if self._of_results:
                raise OutputError(f"standard output cannot be written: {error.strerror}") from error

    def _forget(self) -> None:
        """Discard what could not be written: otherwise Python tries again at exit, and exits with 120."""
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())


def guard_streams() -> None:
    """Escape everything unprintable on standard output and standard error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, GuardedStream):
            stream.reconfigure(
                write_through=True
            )  # keeps the output of both in order, and flushes the inner one at exit
            setattr(sys, name, GuardedStream(stream, of_results=name == "stdout"))


def beneath(stream: TextIO) -> TextIO:
    """Return the stream for rich: the unguarded one, as a guarded one would escape its colours."""
    return stream.beneath if isinstance(stream, GuardedStream) else stream
