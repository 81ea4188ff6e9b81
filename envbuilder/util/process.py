"""Run other programs."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import EnvbuilderError
from envbuilder.util import leftovers
from envbuilder.util.crew import ended_by
from envbuilder.util.interruption import shielded
from envbuilder.util.text import human
from envbuilder.util.watchdog import kill_sessions

_LAST_LINES = 30
_LINE = 2000
_LOOK = 0.2
"""Polling interval for a silent program, in seconds."""
_LAST_BYTES = 2**20
MOST_OUTPUT: Final = 64 * 2**20
"""Limit for each stream of a program, in bytes: the longest, uv's report of a failure, has some hundred kilobytes."""
_TETHER = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone'); os.execvp(sys.argv[2], sys.argv[2:])"
)
_LIMIT = (
    "import os, resource, sys; most = resource.getrlimit(resource.RLIMIT_AS)[1]; size = int(sys.argv[1]); "
    "size = size if most == resource.RLIM_INFINITY else min(size, most); "
    "resource.setrlimit(resource.RLIMIT_AS, (size, size)); os.execvp(sys.argv[2], sys.argv[2:])"
)


_observers: list[Callable[[Sequence[str]], None]] = []


@contextlib.contextmanager
def observed(observer: Callable[[Sequence[str]], None]) -> Iterator[None]:
    """Call *observer* with the arguments of each program that is started in the block."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def announce(args: Sequence[str]) -> None:
    """Notify observers that *args* are being started. For programs that are started without :func:`started`."""
    for observer in _observers:
        observer(args)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """The result of a program."""

    returncode: int
    stdout: str
    stderr: str


class CommandError(EnvbuilderError):
    """A program failed. The message has its command, exit code and last lines."""

    def __init__(self, args: Sequence[str], returncode: int | str, output: str) -> None:
        self.output = output
        lines = output.strip().splitlines()[-_LAST_LINES:]
        last = "\n".join(f"  | {line[:_LINE]}{'…' * (len(line) > _LINE)}" for line in lines)
        what = returncode if isinstance(returncode, str) else f"exited with {returncode}"
        super().__init__(f"`{shlex.join(args)}` {what}" + (f":\n{last}" if last else ""))


@contextlib.contextmanager
def started(
    args: Sequence[str], *, env: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start *args* with exactly *env*; on exit, kill it and everything that it started.

    It runs in its own session: a Ctrl-C on the terminal reaches only this process, which then ends it.
    *options* are those of :class:`subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    announce(args)
    with shielded():
        process = subprocess.Popen(list(args), env=dict(env), start_new_session=True, **options)
        leftovers.note_session(process.pid)
    try:
        with ended_by(lambda: kill_sessions([process.pid])):
            yield process
    finally:
        if process.poll() is None:
            kill_sessions([process.pid])
        leftovers.forget_session(process.pid)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # pending input of a process that is gone
                    pipe.close()


def run(
    args: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
    until_exit: bool = False,
) -> Completed:
    """Run *args* with exactly *env*, its output captured, no standard input; *timeout* in seconds.

    With *until_exit* what it started and left behind with its streams is killed, and not waited for.

    Raises:
        CommandError: it could not be started, ran out of time, wrote more than :data:`MOST_OUTPUT`, or (with *check*)
            exited with a non-zero code.
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
            stdout, stderr = bytearray(), bytearray()
            stopped = capture(process, (stdout, stderr), timeout, until_exit=until_exit)
            if stopped is not None:
                kill_sessions([process.pid])
                said = (stdout[-_LAST_BYTES:] + stderr[-_LAST_BYTES:]).decode(errors="replace")
                raise CommandError(args, stopped, said)
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


def capture(
    process: subprocess.Popen[bytes],
    streams: tuple[bytearray, bytearray],
    timeout: float | None,
    *,
    until_exit: bool = False,
) -> str | None:
    """Read both streams of *process* until it has ended; return why it must be stopped before, or None.

    *streams* take what it writes, at most :data:`MOST_OUTPUT` of each; *timeout* is in seconds; *until_exit* as in
    :func:`run`.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for pipe, said in zip((process.stdout, process.stderr), streams, strict=True):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, said)
        ended = False
        while selector.get_map():
            left = deadline - time.monotonic()
            wait = min(left, _LOOK) if until_exit else left
            ready = selector.select(0 if ended else None if wait == math.inf else max(wait, 0))
            if not ready and ended:
                break
            if not ready and left <= 0:
                return "ran out of time"
            if until_exit and not ended and _has_ended(process):
                ended = True
                kill_sessions([process.pid])
            for key, _ in ready:
                chunk = os.read(key.fd, 2**16)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                if len(key.data) > MOST_OUTPUT:
                    return f"wrote more than {human(MOST_OUTPUT)}"
    try:
        process.wait(None if timeout is None else max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return "ran out of time"
    return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether *process* has ended, without reaping it: until then its id is not reused."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def tethered(args: Sequence[str]) -> list[str]:
    """Return a command that runs *args* and is killed when this thread ends, even by a SIGKILL."""
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *args]


def limited(args: Sequence[str], memory: int) -> list[str]:
    """Return the command that runs *args* in at most *memory* bytes of address space."""
    return [sys.executable, "-I", "-S", "-c", _LIMIT, str(memory), *args]
