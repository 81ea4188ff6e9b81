"""The one way in which the tool runs another program."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuilder.errors import EnvbuilderError
from envbuilder.util import leftovers
from envbuilder.util.guard import kill_sessions
from envbuilder.util.interruption import shielded

_LAST_LINES = 30
_TETHER = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "  # PR_SET_PDEATHSIG
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


@contextlib.contextmanager
def started(
    args: Sequence[str], *, env: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start *args* with exactly *env*; what runs of them when the block is left is killed, with all that they started.

    They run in a session of their own: a Ctrl-C on the terminal comes to this process alone, which then ends them.
    *options* are those of :class:`subprocess.Popen`.

    Raises:
        OSError: they cannot be started.
    """
    with shielded():
        process = subprocess.Popen(list(args), env=dict(env), start_new_session=True, **options)
        leftovers.note_session(process.pid)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_sessions([process.pid])
        leftovers.forget_session(process.pid)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be written to a process that is gone
                    pipe.close()


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
        with started(
            args,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as expired:
                kill_sessions([process.pid])
                said = b"".join(process.communicate())
                raise CommandError(args, None, said.decode(errors="replace")) from expired
    except OSError as error:
        raise CommandError(args, 127, str(error)) from error
    completed = Completed(
        returncode=process.returncode,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )
    if check and completed.returncode != 0:
        raise CommandError(args, completed.returncode, completed.stdout + completed.stderr)
    return completed


def tethered(args: Sequence[str]) -> list[str]:
    """Return the command that runs *args* so that they are killed when this thread ends, even by a SIGKILL."""
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *args]


def limited(args: Sequence[str], memory: int) -> list[str]:
    """Return the command that runs *args* in at most *memory* bytes of address space."""
    return [sys.executable, "-I", "-S", "-c", _LIMIT, str(memory), *args]
