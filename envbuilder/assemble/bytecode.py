"""Compile bytecode reproducibly.

``marshal`` flags objects by their reference count, so the bytecode of a source depends on what else the process has
compiled. Here each file is compiled in a child forked from a process that never compiles, so that its state is always
the same, regardless of order.

The files are *unchecked-hash* pycs (PEP 552): they contain no timestamp, and Python does not compare them with their
source, which does not change in an archive. They contain the path relative to the environment; Python replaces it with
the real one on import.
"""

from __future__ import annotations

import queue
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from envbuilder.base.prefixes import NOWHERE
from envbuilder.errors import AssembleError
from envbuilder.util.process import started
from envbuilder.util.watchdog import kill_sessions

_NONE: Final = 0xFFFFFFFF
_LONGEST: Final = 2**28
"""Largest size of a file's bytecode; a larger claim does not come from Python."""

# Runs in the release's own Python, 3.8 and later. The parent reads each request completely before forking.
SERVER: Final = """
import importlib.util, marshal, os, struct, sys
read = sys.stdin.buffer.read

def compiled(path, source):
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return head + marshal.dumps(code)

def answer(request, cut):
    try:
        data = compiled(request[:cut].decode("utf-8", "surrogateescape"), request[cut:])
        data = struct.pack("<I", len(data)) + data
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        data = struct.pack("<I", 0xFFFFFFFF)
    while data:
        data = data[os.write(1, data):]

while True:
    head = read(8)
    if not head:
        break
    cut, size = struct.unpack("<II", head)
    request = read(size)
    child = os.fork()
    if not child:
        try:
            answer(request, cut)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:  # the compiler crashed: no bytecode
        os.write(1, struct.pack("<I", 0xFFFFFFFF))
"""


Enter = Callable[[Sequence[str], Mapping[str, str]], tuple[list[str], dict[str, str]]]
"""Maps a command and its environment variables to those that run it in a sandbox."""


class BytecodeCompiler:
    """Compiles sources with the Python that *executable* returns, in *workers* processes. A context manager.

    *executable* is called on first use, as it may have to install a Python. *enter* can make it run in a sandbox.
    """

    def __init__(
        self, executable: Callable[[], Path], workers: int = 2, *, enter: Enter | None = None
    ) -> None:
        self._executable = executable
        self._workers = workers
        self._enter = enter
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self.processes: list[subprocess.Popen[bytes]] = []
        self._ending = ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> BytecodeCompiler:
        """Start lazily: a fully cached build needs no compiler."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.kill()
        self._ending.close()

    def kill(self) -> None:
        """Kill the processes; pending and later requests raise AssembleError."""
        with self._lock:
            self._workers = 0
            kill_sessions(process.pid for process in self.processes)

    def compile(self, path: str, source: bytes) -> bytes | None:
        """Return the ``.pyc`` of *source*, or None if it does not compile with this Python. Thread-safe.

        Raises:
            AssembleError: the Python crashed.
        """
        process = self._take()
        try:
            return _ask(process, path, source)
        except (OSError, struct.error) as error:
            raise AssembleError(f"{self._executable()} crashed while compiling {path}") from error
        finally:
            self._idle.put(process)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if not self._workers:
                raise AssembleError(f"{self._executable()} timed out while compiling")
            if self._idle.empty() and len(self.processes) < self._workers:
                self._start()
        return self._idle.get()

    def _start(self) -> None:
        # It writes no bytecode into the base, which may be being listed, and reads none from there: its imports are
        # always compiled, so that its state is always the same.
        options = ("-s", "-S", "-B", "-X", f"pycache_prefix={NOWHERE}", "-W", "ignore")
        command = [str(self._executable()), *options, "-c", SERVER]
        # -I would make Python ignore PYTHONHASHSEED: string hashes determine the order of sets of constants.
        env = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
        if self._enter is not None:
            command, env = self._enter(command, env)
        process = self._ending.enter_context(
            started(
                command,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
        self.processes.append(process)
        self._idle.put(process)


def _ask(process: subprocess.Popen[bytes], path: str, source: bytes) -> bytes | None:
    assert process.stdin is not None
    assert process.stdout is not None
    name = path.encode("utf-8", "surrogateescape")
    process.stdin.write(struct.pack("<II", len(name), len(name) + len(source)) + name + source)
    process.stdin.flush()
    (size,) = struct.unpack("<I", process.stdout.read(4))
    if size == _NONE:
        return None
    if size > _LONGEST:
        raise OSError(f"it claims a bytecode size of {size} bytes")
    data = process.stdout.read(size)
    if len(data) != size:
        raise OSError("cut off")
    return data


def bytecode_path(path: str, minor: str) -> str:
    """Return the bytecode path of the module at *path*: ``a/__pycache__/b.cpython-311.pyc``."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{minor.replace('.', '')}.pyc"
