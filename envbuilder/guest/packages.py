"""Import every package of an environment, each in a separate child process.

It imports nothing before it forks, so a child is in the same state as a stub that imports a model.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import select
import signal
import sys
import time
import traceback
from typing import Any

LIBRARY = re.compile(r"\.so(\.[0-9]+)*( \(deleted\))?$")
"""The end of a shared library's path in ``/proc/self/maps``; data files are mapped, too."""

_OUTPUT = 2000
"""How many bytes of a child's output are kept."""


class Importer:
    """One run: *parallel* children at a time, each for *each* seconds at most, all of them for *total*."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.waiting = list(reversed(job["packages"]))
        self.parallel = max(1, min(int(job["parallel"]), len(os.sched_getaffinity(0))))
        self.each = float(job["each"])
        self.end = time.monotonic() + float(job["total"])
        self.folder = os.path.dirname(job["answer"])
        self.running: dict[int, dict[str, Any]] = {}
        self.found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Return the result of each package by name."""
        while self.waiting or self.running:
            while self.waiting and len(self.running) < self.parallel and time.monotonic() < self.end:
                name, modules = self.waiting.pop()
                self.start(name, modules)
            if time.monotonic() >= self.end:
                for name, _ in self.waiting:
                    self.found[name] = {"timeout": True, "modules": {}}
                self.waiting = []
            self.wait()
        return self.found

    def start(self, name: str, modules: list[str]) -> None:
        """Fork a child that imports *modules*."""
        output = os.path.join(self.folder, "import-" + name)
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(read)
                os.setsid()
                child(modules, write, output)
            finally:
                os._exit(1)
        os.close(write)
        end = min(self.end, time.monotonic() + self.each)
        self.running[read] = {"name": name, "pid": pid, "end": end, "output": output, "said": b""}

    def wait(self) -> None:
        """Read the children's pipes until one ends, or runs out of time."""
        if not self.running:
            return
        first = min(one["end"] for one in self.running.values())
        ready, _, _ = select.select(list(self.running), [], [], max(0.0, first - time.monotonic()))
        for pipe in ready:
            said = os.read(pipe, 65536)
            self.running[pipe]["said"] += said
            # Processes that the package started may keep the pipe open: the child's last line ends it.
            if not said or (said.endswith(b"\n") and b'{"libraries"' in self.running[pipe]["said"]):
                self.finish(pipe, False)
        for pipe in [pipe for pipe, one in self.running.items() if one["end"] <= time.monotonic()]:
            self.finish(pipe, True)

    def finish(self, pipe: int, timeout: bool) -> None:
        """Record the result of a child."""
        one = self.running.pop(pipe)
        os.close(pipe)
        if timeout:
            end_group(one["pid"])
        _, status = os.waitpid(one["pid"], 0)
        end_group(one["pid"])
        found: dict[str, Any] = {"modules": {}, "libraries": []}
        # A line for each module that was started or imported, written before the child may die.
        for text in one["said"].decode("utf-8", "replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # cut off
                continue
            if "libraries" in line:
                found["libraries"] = line["libraries"]
            else:
                found["modules"][line["module"]] = line
        if timeout:
            found["timeout"] = True
        elif os.WIFSIGNALED(status):
            found["signal"] = os.WTERMSIG(status)
        elif status:
            found["exited"] = os.WEXITSTATUS(status)
        found["output"] = tail(one["output"])
        self.found[one["name"]] = found


def end_group(group: int) -> None:
    """End a child, and the processes that it started."""
    with contextlib.suppress(OSError):  # it had ended
        os.killpg(group, signal.SIGKILL)


def child(modules: list[str], pipe: int, output: str) -> None:
    """Import *modules*, report each result, and exit."""
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (printed, 1), (printed, 2)):
        os.dup2(source, target)

    def say(**values: Any) -> None:
        os.write(pipe, (json.dumps(values) + "\n").encode())

    for module in modules:
        say(module=module, begun=True)
        began = time.perf_counter()
        try:
            importlib.import_module(module)
        except BaseException as error:  # SystemExit, too: a package may do anything when it is imported
            say(module=module, **described(error))
        else:
            say(module=module, seconds=time.perf_counter() - began)
    say(libraries=outside_libraries([sys.prefix]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def described(error: BaseException) -> dict[str, Any]:
    """Describe an error: its type, its text, the missing module or file, and where."""
    chain = [error]
    while (chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)  # type: ignore[arg-type]  # not None
    frames = traceback.extract_tb(error.__traceback__)
    where = [
        os.path.relpath(frame.filename, sys.prefix)
        for frame in frames
        if frame.filename.startswith(sys.prefix)
    ]
    return {
        "error": type(error).__name__,
        "text": str(error)[:2000],
        "missing": getattr(error, "name", None) if isinstance(error, ImportError) else None,
        "file": getattr(error, "filename", None) if isinstance(error, OSError) else None,
        "causes": [f"{type(one).__name__}: {str(one)[:500]}" for one in chain[1:]],
        "where": where[-1] if where else None,
    }


def outside_libraries(folders: list[str]) -> list[str]:
    """List shared libraries loaded from none of *folders*."""
    roots = tuple(os.path.realpath(path) + os.sep for path in folders)
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths = {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) == 6}
    return sorted(path for path in paths if LIBRARY.search(path) and not path.startswith(roots))


def tail(path: str) -> str:
    """Return the end of a child's output."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _OUTPUT))
            text = file.read().decode("utf-8", "replace")
        os.remove(path)
    except OSError:
        return ""
    return text
