"""Ends the programs, and removes the folders, of a process that cannot do it itself any more.

Run as a program, by its path, in a Python that need not have envbuilder, so it imports the standard library only:

- ``watch`` reads lines ``+SESSION`` and ``-SESSION``, and kills the sessions that are left when standard input ends:
  it is a pipe whose other end is closed by the kernel, even when the process that holds it is killed.
- ``finish CODE session=… path=… folder=…`` kills sessions, removes paths, and folders if they are empty, and exits with
  CODE. A process *becomes* it (``execv``) to end at once: no other thread of it is left that writes meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final

_PATIENCE: Final = 1.0
"""Seconds in which a session's processes, killed, have to be gone; one in an uninterruptible call takes longer."""


def kill_sessions(sessions: Iterable[int]) -> None:
    """Kill every process of *sessions*, and what they have started, also where that made a session of its own."""
    wanted = set(sessions)
    deadline = time.monotonic() + _PATIENCE
    while wanted:
        processes = _processes()
        left = [pid for pid, (_, session) in processes.items() if session in wanted]
        found = set(left)
        while found:  # all of them before any is killed: an orphan's parent is not known any more
            found = {pid for pid, (parent, _) in processes.items() if parent in found}
            wanted |= {processes[pid][1] for pid in found} - {os.getsid(0)}
            left += found
        if not left or time.monotonic() > deadline:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _processes() -> dict[int, tuple[int, int]]:
    """Return parent and session of every process that runs (``proc_pid_stat(5)``)."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
                if state not in (b"Z", b"X"):
                    found[int(name)] = int(parent), int(session)
    return found


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, a link, or a folder with all that is in it, as far as this user may.

    What was unpacked may hold folders that their owner cannot write: they are made writable first.
    """
    if not os.path.isdir(path) or os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    try:
        shutil.rmtree(path)
    except OSError:
        _make_writable(path)
        shutil.rmtree(path, ignore_errors=True)


def _make_writable(top: str | os.PathLike[str]) -> None:
    with contextlib.suppress(OSError):
        os.chmod(top, 0o700)
    for root, folders, _ in os.walk(top):
        for name in folders:
            path = os.path.join(root, name)
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)


def main(arguments: Sequence[str]) -> int:
    """Run as the module says; return the exit code."""
    if arguments[0] == "watch":
        return _watch(sys.stdin)
    parts = [argument.partition("=")[::2] for argument in arguments[2:]]
    kill_sessions(int(name) for kind, name in parts if kind == "session")
    for kind, name in parts:
        if kind == "path":
            remove(name)
        elif kind == "folder":
            with contextlib.suppress(OSError):
                os.rmdir(name)
    return int(arguments[1])


def _watch(lines: Iterable[str]) -> int:
    sessions: set[int] = set()
    for line in lines:
        number = int(line[1:])
        if line[0] == "+":
            sessions.add(number)
        else:
            sessions.discard(number)
    kill_sessions(sessions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
