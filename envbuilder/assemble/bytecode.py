"""Bytecode that is the same each time.

``marshal`` marks an object for reuse when something else refers to it, so that the same source gives other bytes
according to what else the process has compiled. Here each file is compiled in a child that was forked from a
process that never compiles: its state is the same each time, whatever the order.

The files are of the *unchecked-hash* kind (PEP 552): no time stamp in them, and Python does not compare them with
their source, which nothing changes in an archive. The path in them is the one in the environment, relative;
Python puts the real one in its place when it loads them.
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
from envbuilder.util.guard import kill_sessions
from envbuilder.util.process import started

_NONE: Final = 0xFFFFFFFF
_LONGEST: Final = 2**28
"""Bytes of a file's bytecode: who says more is no Python."""

# Runs in the release's own Python, 3.8 and later. The child reads nothing that the parent has not read whole.
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
    if os.waitpid(child, 0)[1]:  # the compiler itself crashed, before it answered: no bytecode
        os.write(1, struct.pack("<I", 0xFFFFFFFF))
"""


Enter = Callable[[Sequence[str], Mapping[str, str]], tuple[list[str], dict[str, str]]]
"""Takes a command and its variables, and gives those that run it somewhere else: in a sandbox."""


class BytecodeCompiler:
    """Compiles sources with the Python that *executable* gives, on *workers* processes. A context manager.

    *executable* is asked when something is compiled: a Python may have to be installed first. With *enter* it runs
    elsewhere.
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
        """Start nothing yet: a build whose segments are all in the store needs no compiler."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.kill()
        self._ending.close()

    def kill(self) -> None:
        """Kill the processes: what is asked of them, or was asked and not answered, is an AssembleError."""
        with self._lock:
            self._workers = 0
            kill_sessions(process.pid for process in self.processes)

    def compile(self, path: str, source: bytes) -> bytes | None:
        """Return the ``.pyc`` of *source*, or None where it is not valid for this Python. Thread-safe.

        Raises:
            AssembleError: the Python died.
        """
        process = self._take()
        try:
            return _ask(process, path, source)
        except (OSError, struct.error) as error:
            raise AssembleError(f"{self._executable()} died while it compiled {path}") from error
        finally:
            self._idle.put(process)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if not self._workers:
                raise AssembleError(f"{self._executable()} was ended: it took too long to compile")
            if self._idle.empty() and len(self.processes) < self._workers:
                self._start()
        return self._idle.get()

    def _start(self) -> None:
        # It leaves nothing in the base, which may be listed at this moment, and finds nothing there that it, or whoever
        # was here before, has left: what it imports is compiled anew, so that its state is the same each time.
        options = ("-s", "-S", "-B", "-X", f"pycache_prefix={NOWHERE}", "-W", "ignore")
        command = [str(self._executable()), *options, "-c", SERVER]
        # -I would make Python ignore PYTHONHASHSEED: string hashes decide the order of sets of constants.
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
        raise OSError(f"it says that it compiled to {size} bytes")
    data = process.stdout.read(size)
    if len(data) != size:
        raise OSError("cut off")
    return data


def bytecode_path(path: str, minor: str) -> str:
    """Return where the bytecode of the module at *path* belongs: ``a/__pycache__/b.cpython-311.pyc``."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{minor.replace('.', '')}.pyc"
