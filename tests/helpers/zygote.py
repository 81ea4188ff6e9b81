"""A warm command line: a process that has imported envbuilder and forks for each request.

Run by :mod:`tests.helpers.hostile` as a script of its own, ``python -I zygote.py``. Requests and answers are lines of
JSON on standard input and output. A request names arguments, environment, working directory, limits, and the files
that take the two streams; the answer says how the process ended, and what it left running.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import itertools
import json
import os
import pathlib
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import time
from typing import Any

_NOT_IMPORTED = ("envbuilder.guest", "envbuilder._data", "envbuilder.fleet.dask")
_OTHERS = (
    "cryptography.x509",
    "cryptography.hazmat.primitives.serialization",
    "cyclonedx.output.json",
    "cyclonedx.validation.json",
    "license_expression",
)
"""What verbs import late because not every installation has it."""
_STEPS = {
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.utime"),
    *("os.truncate", "os.posix_spawn", "subprocess.Popen", "fcntl.flock", "ctypes.call_function"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    """Serve until standard input ends; in a forked child, run the command line and end as it ends."""
    _import_everything()
    _become_subreaper()
    answers = os.fdopen(os.dup(1), "w")
    os.set_inheritable(answers.fileno(), False)
    requests = os.fdopen(os.dup(0), "r")
    print("ready", file=answers, flush=True)
    while line := requests.readline():
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            answers.close()  # the objects, too: later their destructors would close whoever has the numbers then
            requests.close()
            _become_the_command_line(request)
            if request["moment"] is not None:
                _await(**request["moment"])
            importlib.import_module("envbuilder.__main__").main()
            return  # not reached: the command line exits
        print(json.dumps(_wait(pid, request["seconds"], request["grace"])), file=answers, flush=True)


def _import_everything() -> None:
    package = importlib.import_module("envbuilder")
    for found in pkgutil.walk_packages(package.__path__, "envbuilder."):
        if not found.name.startswith(_NOT_IMPORTED):
            importlib.import_module(found.name)
    for name in _OTHERS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the child's collector touches, and so copies, every page


def _become_subreaper() -> None:
    """Let what a command line leaves running become a child of this process, by ``prctl(2)``."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _become_the_command_line(request: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    if request["memory"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], request["file_size"]))
    if request["somebody"]:
        _become_somebody()
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None  # it was found out with another environment
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    for descriptor in request["closed"]:
        os.close(descriptor)
    # As a new interpreter would have them in a UTF-8 locale: what cannot be encoded is an error on standard output.
    sys.stdin = None if 0 in request["closed"] else open(0, closefd=False)  # noqa: SIM115  # they live on
    sys.stdout, sys.stderr = (
        None
        if descriptor in request["closed"]
        else open(descriptor, "w", encoding="utf-8", errors=errors, buffering=buffering, closefd=False)  # noqa: SIM115
        for descriptor, errors, buffering in ((1, "strict", -1), (2, "backslashreplace", 1))
    )
    sys.argv = ["envbuilder", *request["arguments"]]


def _become_somebody() -> None:
    """Give up what root may do: a user whom nobody knows, and whom permission bits stop."""
    found = importlib.util.spec_from_file_location("users", pathlib.Path(__file__).with_name("users.py"))
    assert found is not None
    assert found.loader is not None
    users = importlib.util.module_from_spec(found)
    found.loader.exec_module(users)
    users.become_somebody()


def _await(step: int, number: int, record: str) -> None:
    """Send this process the signal *number* before its step *step*; 0: only *record* them, a line each.

    A step is what changes files or starts a program: between two of them nothing changes for anybody else.
    """
    lines = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    when = os.open(f"{record}-when", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    counter = itertools.count(1)

    def look(event: str, given: tuple[Any, ...]) -> None:
        if event in _STEPS or (event == "open" and isinstance(given[2], int) and given[2] & _WRITING):
            here = next(counter)
            os.write(lines, f"{here} {event} {given[0] if given else ''}\n".encode(errors="replace"))
            if here == step:
                os.write(when, str(time.monotonic()).encode())  # of the machine, not of this process
                os.kill(os.getpid(), number)

    sys.addaudithook(look)


def _wait(pid: int, seconds: float, grace: float) -> dict[str, Any]:
    begun = time.monotonic()
    late = False
    handle = os.pidfd_open(pid)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            late = True
            with contextlib.suppress(ProcessLookupError):  # it has no group of its own yet
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)
    _, status, usage = os.wait4(pid, 0)
    ended = time.monotonic()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "late": late,
        "seconds": ended - begun,
        "ended": ended,
        "memory": usage.ru_maxrss * 1024,
        "running": _end_descendants(grace),
    }


def _end_descendants(grace: float) -> list[str]:
    """End what is still running after *grace* seconds, and say what it was."""
    until = time.monotonic() + grace
    while left := _children():
        if time.monotonic() > until:
            break
        time.sleep(0.01)
    names = []
    while left := _children():
        for pid in left:
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    names.append(file.read().replace(b"\0", b" ").decode(errors="replace").strip())
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return names


def _children() -> list[int]:
    """Reap the children that have ended, and return the others."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


if __name__ == "__main__":
    main()
