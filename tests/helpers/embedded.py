"""The runtime in a process of its own, almost as embedded in a stub."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from tests.helpers.runtime import RUNTIME
from tests.runtime.conftest import STANDIN

_BEGINNING = f"""
import importlib.util, os, sys
sys.path.insert(0, {str(STANDIN)!r})
spec = importlib.util.spec_from_file_location("runtime", {str(RUNTIME)!r})
runtime = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runtime)
process = runtime.runtime_module("process")
"""


def run(body: str, *, env: dict[str, str] | None = None, options: tuple[str, ...] = ("-I",)) -> str:
    """Run *body* after the runtime was imported, almost as embedded in a stub: isolated, locale C, no UTF-8 mode."""
    done = subprocess.run(
        [sys.executable, *options, "-X", "utf8=0", "-c", _BEGINNING + textwrap.dedent(body)],
        env={"LC_ALL": "C", "PATH": os.environ["PATH"], **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
