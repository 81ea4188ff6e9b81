"""Run a target under atheris for a bounded time.

Needs ``atheris``: ``pip install -e .[fuzz]`` (it has wheels for CPython 3.11 and later on Linux). It is no part of
``pytest``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def fuzz(target: Callable[[bytes], None], seeds: Iterable[bytes], description: str) -> None:
    """Give *target* mutations of *seeds* for as long as the command line says; an exception ends it, with its input.

    The input that made *target* fail is written to the current folder, as libFuzzer does: ``crash-<sha1>``.
    """
    import atheris  # type: ignore[import-untyped]  # it ships no types

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--input", type=Path, help="run this one input, of a crash before, and no other")
    arguments = parser.parse_args()
    if arguments.input is not None:
        target(arguments.input.read_bytes())
        return
    with tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-") as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        options = [
            f"-max_total_time={arguments.seconds}",
            "-max_len=4096",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ]
        child = os.fork()  # libFuzzer ends its process itself: somebody must stay to remove the corpus
        if not child:
            atheris.Setup([sys.argv[0], *options, corpus], target)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
