"""The two streams of the command line: text of others leaves through here, and nothing in it is obeyed by a terminal.

Everything that is written to :data:`sys.stdout` and :data:`sys.stderr`, by click, by :func:`print`, by a warning or a
traceback, passes :func:`~envbuilder.util.printable.printable`. What rich makes has escape codes of its own: it goes to
the stream beneath, and its texts are made printable before rich sees them (:mod:`envbuilder.cli.terminal`).
"""

from __future__ import annotations

import io
import sys
from typing import TextIO

from envbuilder.util.printable import printable


class GuardedStream(io.TextIOWrapper):
    """A text stream that writes printable text only, whatever it is given."""

    def __init__(self, beneath: io.TextIOWrapper) -> None:
        # Where click finds ASCII it makes a stream of its own of the same buffer, in UTF-8.
        plain = beneath.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968")
        super().__init__(
            beneath.buffer,
            encoding="utf-8" if plain else beneath.encoding,
            errors="backslashreplace",
            line_buffering=beneath.line_buffering,
            write_through=True,
        )
        self.beneath = beneath
        """Closed, it would close what both write to: it lives as long as this one."""

    def write(self, text: str) -> int:
        """Write *text*, and say how long it was before."""
        super().write(printable(text))
        return len(text)


def guard_streams() -> None:
    """Let nothing reach standard output and standard error but printable text."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, GuardedStream):
            stream.reconfigure(
                write_through=True
            )  # what both write stays in order, and is not lost with the one below
            setattr(sys, name, GuardedStream(stream))


def beneath(stream: TextIO) -> TextIO:
    """Return the stream that rich writes to: the one below a guarded one, which would escape its colours."""
    return stream.beneath if isinstance(stream, GuardedStream) else stream
