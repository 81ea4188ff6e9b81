"""Run a target under atheris for a bounded time, or, without it, over some mutations of its seeds.

The first needs ``atheris``: ``pip install -e .[fuzz]`` (it has wheels for CPython 3.11 and later on Linux). The second
is part of ``pytest`` (:mod:`tests.fuzz.test_targets`): a target that nobody runs says nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

Target = Callable[[bytes], None]
_LONGEST = 4096
_ODD = (
    *(
        b"\0",
        b"\xff",
        b"\x1b[2J",
        b"\xed\xa0\x80",
        b"..",
        b"/",
        b"\n",
        b"-1",
        b"1e999",
        b"9" * 200,
        b"{}",
        b"[" * 100,
    ),
    *(b'"', b"'", b"null", b"\x80" * 4, b"\xff" * 8, b"\0" * 64),
)


def instrumented(include: Sequence[str]) -> AbstractContextManager[None]:
    """Return what to import the modules *include* under, so that atheris sees which lines of them run."""
    try:
        import atheris  # type: ignore[import-untyped]  # it ships no types
    except ImportError:
        return contextlib.nullcontext()
    found: AbstractContextManager[None] = atheris.instrument_imports(include=list(include))
    return found


def fuzz(
    target: Target, seeds: Iterable[bytes], description: str, arguments: Sequence[str] | None = None
) -> None:
    """Give *target* mutations of *seeds* for as long as the command line says; an exception ends it, with its input.

    The input that made *target* fail is written to the current folder, as libFuzzer does: ``crash-<sha1>``.
    """
    import atheris

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--input", type=Path, help="run this one input, of a crash before, and no other")
    given = parser.parse_args(arguments)
    if given.input is not None:
        target(given.input.read_bytes())
        return
    with tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-") as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        options = [
            f"-max_total_time={given.seconds}",
            f"-max_len={_LONGEST}",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ]
        child = os.fork()  # libFuzzer ends its process itself: somebody must stay to remove the corpus
        if not child:
            atheris.Setup([sys.argv[0], *options, corpus], target)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def mutations(seeds: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """Give *seeds*, then mutations of them without an end: bytes that are others, gone, doubled, or of another seed."""
    yield b""
    yield from seeds
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(5):
                case 0 if at < len(data):
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.choice((1, 2, 8, 64))]
                case 2:
                    data[at:at] = data[at : at + chance.choice((1, 8, 64, 512))]
                case 3:
                    other = chance.choice(seeds)
                    data[at:] = other[chance.randrange(len(other) + 1) :]
                case _:
                    odd = chance.choice(_ODD)
                    data[at : at + chance.choice((0, len(odd)))] = odd
        yield bytes(data)


class Choices:
    """Numbers and bytes taken from an input, one after the other; nothing but zeros once it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, length: int) -> bytes:
        """Return the next bytes, *length* at most."""
        taken, self._data = self._data[:length], self._data[length:]
        return taken

    def integer(self, least: int, most: int) -> int:
        """Return a number from *least* to *most*."""
        return least + int.from_bytes(self.take(4), "little") % (most - least + 1)
