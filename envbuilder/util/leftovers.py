"""What this process must clean up before it ends: temporary folders, empty folders, and programs that it started.

Code that creates one registers it here first, and unregisters it when it is gone or has become a result. What
is still registered when the process ends is removed: by :mod:`atexit`; by :func:`finish`, which waits for no thread;
and programs by a watchdog (:mod:`envbuilder.util.watchdog`), where the process is killed. Thread-safe.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final, NoReturn

from envbuilder.util import watchdog

ENDING_SIGNALS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that ask a process to end."""
_WATCHDOG: Final = os.path.abspath(watchdog.__file__)


class _Noted:
    """Everything registered in this process."""

    def __init__(self) -> None:
        # Dictionaries keep the order, and each step on them is one operation of the interpreter: a signal handler and
        # another thread find them whole.
        self.paths: dict[Path, None] = {}
        self.folders: dict[Path, None] = {}
        self.sessions: dict[int, None] = {}
        self.lock = threading.Lock()
        self.finishing = False
        self.guard: tuple[int, int] | None = None
        """The watchdog's process, and the pipe to it."""


_noted = _Noted()


def note_path(path: Path) -> None:
    """Register *path*, which need not exist yet, for removal with its contents."""
    _stay()
    _noted.paths[path] = None


def forget_path(path: Path) -> None:
    """Undo :func:`note_path`."""
    _noted.paths.pop(path, None)


def note_folder(folder: Path) -> None:
    """Register *folder*, which need not exist yet, for removal if it is empty."""
    _stay()
    _noted.folders[folder] = None


def forget_folder(folder: Path) -> None:
    """Undo :func:`note_folder`."""
    _noted.folders.pop(folder, None)


def note_session(session: int) -> None:
    """Register *session*: its processes are killed when this process ends or is killed."""
    _stay()
    _noted.sessions[session] = None
    _tell(f"+{session}\n")


def forget_session(session: int) -> None:
    """Undo :func:`note_session`."""
    if session in _noted.sessions:
        del _noted.sessions[session]
        _tell(f"-{session}\n")


def kill_programs() -> None:
    """Kill the registered programs."""
    watchdog.kill_sessions(list(_noted.sessions))


def remove_all() -> None:
    """Kill the registered programs and remove the registered paths."""
    kill_programs()
    for path in reversed(list(_noted.paths)):
        watchdog.remove(path)
        forget_path(path)
    for folder in reversed(list(_noted.folders)):
        with contextlib.suppress(OSError):
            folder.rmdir()
        forget_folder(folder)


def finish(code: int) -> NoReturn:
    """End this process at once with *code*, after cleaning up. Any thread may call it."""
    _noted.finishing = True
    left = [f"session={session}" for session in list(_noted.sessions)]
    left += [f"path={path}" for path in reversed(list(_noted.paths))]
    left += [f"folder={folder}" for folder in reversed(list(_noted.folders))]
    # Blocked signals stay so in the program that this process becomes: nothing ends it before its work is done.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    if left:
        with contextlib.suppress(OSError):  # no such Python any more, or more paths than arguments may be
            command = [sys.executable, "-I", "-S", _WATCHDOG, "finish", str(code)]
            os.execv(sys.executable, [*command, *left])
    with contextlib.suppress(Exception):
        remove_all()
    os._exit(code)


def _stay() -> None:
    """Block a thread that would create something new while another ends the process."""
    while _noted.finishing:
        time.sleep(1.0)


# -- the watchdog -------------------------------------------------------------------------------------


def _tell(line: str) -> None:
    """Send a line to the watchdog, which the first line starts."""
    with _noted.lock:
        if _noted.guard is None:
            _noted.guard = _start_guard()
        with contextlib.suppress(OSError):  # it was ended
            os.write(_noted.guard[1], line.encode())


def _start_guard() -> tuple[int, int]:
    end, pipe = os.pipe()
    try:
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", _WATCHDOG, "watch"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, end, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,  # what interrupts this process, or kills its group, does not reach it
        )
    finally:
        os.close(end)
    return process, pipe


def _end() -> None:
    remove_all()
    if _noted.guard is not None:
        process, pipe = _noted.guard
        _noted.guard = None
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        os.close(pipe)


def _begin_anew() -> None:
    """Clear the registry in a forked child: its contents and the watchdog belong to the parent."""
    global _noted
    if _noted.guard is not None:
        os.close(_noted.guard[1])
    _noted = _Noted()


atexit.register(_end)
os.register_at_fork(after_in_child=_begin_anew)
