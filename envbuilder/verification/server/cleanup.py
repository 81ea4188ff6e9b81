"""Clean up after a killed server: stubs, shared memory, and the folders that it extracted into.

Run as a program, this file waits until the process that started it is gone, and then ends that process's server,
because a killed process cannot clean up. So it imports only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TERMINATE_AFTER: Final = 40.0
"""Seconds for a server to unload its models before it is killed; it waits 30 for its requests itself."""
_GONE_AFTER: Final = 1.0
"""Seconds to wait for a killed process to exit."""
_HEAP: Final = 2**26
"""Largest arena of glibc, in bytes; larger mappings are buffers."""
EXTRACTIONS: Final = Path("/tmp")
"""Where servers extract environments, which is fixed in Triton (``pb_env.cc``)."""
_EXTRACTED: Final = re.compile(rb"/tmp/python_env_[A-Za-z0-9]{6}")


@dataclass(kw_only=True)
class Leftovers:
    """The leftovers of the server with one name and process."""

    name: str
    """Its ``--id``, the prefix of the names of its shared memory."""
    pid: int
    """The server's process id, which is that of its group."""
    before: set[Path]
    """Folders that existed before it was started."""
    extracted: set[Path] = field(default_factory=set)
    """Folders into which it was seen to extract environments."""

    def look(self) -> None:
        """Record which extraction folders are this server's, by working directories and libraries of its stubs."""
        for process in _group(self.pid):
            with contextlib.suppress(OSError):
                self._note(os.readlink(process / "cwd").encode())
            for source in ("maps", "cmdline", "environ"):
                with contextlib.suppress(OSError):
                    self._note((process / source).read_bytes())

    def remember(self) -> None:
        """Record a folder that the server has created and not used yet: only its memory contains the name.

        It creates one for each loaded backend, and leaves it behind if it is ended before it is ready.
        """
        folder = Path("/proc") / str(self.pid)
        with contextlib.suppress(OSError, ValueError), (folder / "mem").open("rb", buffering=0) as memory:
            for begin, end in _heaps((folder / "maps").read_text()):
                memory.seek(begin)
                self._note(memory.read(end - begin) or b"")

    def _note(self, text: bytes) -> None:
        self.extracted.update(Path(os.fsdecode(found)) for found in _EXTRACTED.findall(text))

    def kill(self) -> None:
        """Kill its remaining processes: stubs of a dead server live on in its group.

        Once they are gone, none of them writes into what is removed afterwards.
        """
        deadline = time.monotonic() + _GONE_AFTER
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.pid, signal.SIGKILL)
                if not _group(self.pid):
                    break
                time.sleep(0.01)

    def clear(self, *, killed: bool) -> None:
        """Remove its folders and its shared memory; *killed*: it could not remove any itself."""
        if killed and not _other_servers(self.pid):
            self.extracted |= extractions() - self.before
        for folder in self.extracted - self.before:
            shutil.rmtree(folder, ignore_errors=True)
        # The runtime's name for an environment: a link that leads into such a folder.
        for link in Path(tempfile.gettempdir()).glob("torch-environment-*"):
            with contextlib.suppress(OSError):
                if any(folder in Path(os.readlink(link)).parents for folder in self.extracted - self.before):
                    link.unlink()
        for region in Path("/dev/shm").glob(f"{self.name}*"):
            region.unlink(missing_ok=True)


@contextlib.contextmanager
def guarded(name: str, before: Iterable[Path]) -> Iterator[None]:
    """Let another process end the server *name* and remove its leftovers if this one is killed in the block."""
    # In a new session: signals to this process or its group do not reach it.
    command = [sys.executable, "-I", "-S", __file__, name, *map(str, before)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def extractions() -> set[Path]:
    """Return this user's folders into which any server extracted environments."""
    found = set()
    for folder in EXTRACTIONS.glob("python_env_??????"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                found.add(folder)
    return found


def _heaps(maps: str) -> Iterator[tuple[int, int]]:
    """Yield the heap areas of a process from its ``maps``."""
    for line in maps.splitlines():
        place, mode, _, _, inode, *name = line.split()
        begin, end = (int(address, 16) for address in place.split("-"))
        if mode == "rw-p" and inode == "0" and name in ([], ["[heap]"]) and end - begin <= _HEAP:
            yield begin, end


def _other_servers(pid: int) -> bool:
    """Return whether another server is running, whose new folder might be mistaken for one of ours."""
    for name in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if name.read_text(errors="replace").strip() == "tritonserver" and name.parent.name != str(pid):
                return True
    return False


def _group(leader: int) -> list[Path]:
    """Return the /proc folders of the processes that run in the process group of *leader*."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                state, _, group, *_ = _status(entry)
                if int(group) == leader and state != "Z":
                    found.append(entry)
    return found


def _status(process: Path) -> list[str]:
    """Return a process's state, parent, group and so on (``proc_pid_stat(5)``)."""
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()


# -- the watchdog -------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Wait for the end of standard input, that is, of the parent process; then end its server."""
    name, *before = arguments
    sys.stdin.buffer.read()
    pid = _leader(name)
    leftovers = Leftovers(name=name, pid=pid or 0, before=set(map(Path, before)))
    if pid is not None:
        leftovers.look()  # while it still runs: afterwards its folders can no longer be found
        leftovers.remember()
        leftovers.kill()
    leftovers.clear(killed=True)


def _leader(name: str) -> int | None:
    """Return the process group of the server, found by its name, or of a stub that outlived it."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if process.name != str(os.getpid()) and name.encode() in (process / "cmdline").read_bytes():
                return int(_status(process)[2])
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
