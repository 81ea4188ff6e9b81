"""A watchdog: ends the programs and removes the folders of a process that was killed.

Run as a program, by its path, in any Python, so it imports only the standard library:

- ``watch`` reads lines ``+SESSION`` and ``-SESSION``, and kills the sessions that are left when standard input ends:
  it is a pipe whose other end is closed by the kernel, even when the process that holds it is killed.
- ``finish CODE session=… path=… folder=…`` kills sessions, removes paths, and folders if they are empty, and exits with
  CODE, in a moment. A process *becomes* it (``execv``) to end at once: no other thread of it is left that writes.
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
"""Seconds to wait for killed processes to exit; one in an uninterruptible call takes longer."""
_LONGEST: Final = 0.7
"""Seconds that an exiting process spends on cleanup; the rest is removed after it has exited."""


def kill_sessions(sessions: Iterable[int]) -> None:
    """Kill every process of *sessions* and their descendants, including those in new sessions."""
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
    """Return parent and session of every running process (``proc_pid_stat(5)``)."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
                if state not in (b"Z", b"X"):
                    found[int(name)] = int(parent), int(session)
    return found


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, a link, or a folder with its contents, as far as permissions allow.

    Unpacked archives may contain read-only folders: they are made writable first.
    """
    if not os.path.isdir(path) or os.path.islink(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError):  # it goes as deep as the folders do
        _remove_bit_by_bit(os.fspath(path))


def _remove_bit_by_bit(top: str) -> None:
    folders = [top]
    for folder in folders:  # it grows
        with contextlib.suppress(OSError):
            # By its descriptor, so that a link put in its place is not followed.
            descriptor = os.open(folder, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                opened = f"/proc/self/fd/{descriptor}"
                os.chmod(opened, 0o700)
                with os.scandir(opened) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(os.path.join(folder, entry.name))
                        else:
                            os.unlink(entry.name, dir_fd=descriptor)
            finally:
                os.close(descriptor)
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def main(arguments: Sequence[str]) -> int:
    """Run the command in *arguments* (see the module); return the exit code."""
    if arguments[0] == "watch":
        return _watch(sys.stdin)
    _finish([argument.partition("=")[::2] for argument in arguments[2:]])
    return int(arguments[1])


def _finish(left: Sequence[tuple[str, str]]) -> None:
    """Remove what is *left* in a child process, and wait for it only briefly: a slow disk must not block."""
    process = os.fork()
    if not process:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # their readers wait for the end of file
            os.dup2(nowhere, stream)
        _take_away(left)
        os._exit(0)
    deadline = time.monotonic() + _LONGEST
    while not os.waitpid(process, os.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(0.005)


def _take_away(left: Sequence[tuple[str, str]]) -> None:
    kill_sessions(int(name) for kind, name in left if kind == "session")
    for kind, name in left:
        if kind == "path":
            remove(name)
        elif kind == "folder":
            with contextlib.suppress(OSError):
                os.rmdir(name)


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
