"""The one way in which the tool runs another program."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envbuilder.errors import EnvbuilderError

_LAST_LINES = 30
_TETHER = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone'); os.execvp(sys.argv[2], sys.argv[2:])"
)
_LIMIT = (
    "import os, resource, sys; most = resource.getrlimit(resource.RLIMIT_AS)[1]; size = int(sys.argv[1]); "
    "size = size if most == resource.RLIM_INFINITY else min(size, most); "
    "resource.setrlimit(resource.RLIMIT_AS, (size, size)); os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """What a program answered."""

    returncode: int
    stdout: str
    stderr: str


class CommandError(EnvbuilderError):
    """A program failed: its command, its exit code and its last lines are in the message."""

    def __init__(self, args: Sequence[str], returncode: int | None, output: str) -> None:
        self.output = output
        last = "\n".join(f"  | {line}" for line in output.strip().splitlines()[-_LAST_LINES:])
        what = "ran out of time" if returncode is None else f"exited with {returncode}"
        super().__init__(f"`{shlex.join(args)}` {what}" + (f":\n{last}" if last else ""))


def run(
    args: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run *args* with exactly *env*, its output captured, no standard input; *timeout* in seconds.

    Raises:
        CommandError: it could not be started, ran out of time, or (with *check*) exited with another code than 0.
    """
    try:
        done = subprocess.run(
            list(args),
            env=dict(env),
            cwd=cwd,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stdout or b"") + (expired.stderr or b"")
        raise CommandError(args, None, said.decode(errors="replace")) from expired
    except OSError as error:
        raise CommandError(args, 127, str(error)) from error
    completed = Completed(
        returncode=done.returncode,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
    )
    if check and completed.returncode != 0:
        raise CommandError(args, completed.returncode, completed.stdout + completed.stderr)
    return completed


def tethered(args: Sequence[str]) -> list[str]:
    """Return the command that runs *args* so that they get SIGTERM when this thread ends, even by a SIGKILL."""
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *args]


def limited(args: Sequence[str], memory: int) -> list[str]:
    """Return the command that runs *args* in at most *memory* bytes of address space."""
    return [sys.executable, "-I", "-S", "-c", _LIMIT, str(memory), *args]
