"""One process of a server: started on loopback, waited for, and stopped without leaving anything behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.errors import VerifyError

_LAST_LINES: Final = 20
_TERMINATE_AFTER: Final = 40.0
"""Seconds that a server gets to unload its models before it is killed; it gives its requests 30 itself."""
_PORT_TAKEN: Final = re.compile(
    r"already in use|Address already in use|failed to (?:start|bind)", re.IGNORECASE
)
_HEAP: Final = 2**26
"""Bytes of glibc's arenas at most; larger mappings are buffers."""
_TABLE: Final = re.compile(r"[+|]|[IW]\d{4} .*\] *$")
_ERROR: Final = re.compile(r"^E\d{4} |Failed to initialize Python stub|error while loading shared libraries")
_LINE_LENGTH: Final = 600
_EXTRACTED: Final = re.compile(rb"/tmp/python_env_[A-Za-z0-9]{6}")
"""Triton's own choice of a folder; no variable moves it (``pb_env.cc``)."""
# Starts the server so that it dies with the process that started it, even when that one is killed.
_TETHER: Final = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone'); os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningServer:
    """A server that is ready."""

    http: str
    """``127.0.0.1:port``."""
    grpc: str
    """``127.0.0.1:port``."""
    process: subprocess.Popen[bytes]
    log: Path
    version: str
    """What the server says of itself: ``2.51.0``."""

    def last_lines(self, count: int = _LAST_LINES) -> str:
        """Return the end of its log."""
        return _last_lines(self.log, count)


class PortTakenError(Exception):
    """Somebody took the port between its choice and its use."""


@dataclass(kw_only=True)
class Session:
    """One process of a server, from its start to the last file it left."""

    title: str
    """The server's name for a person."""
    log: Path
    http: str
    grpc: str
    name: str = field(default_factory=lambda: f"envbuilder-{uuid.uuid4().hex[:12]}")
    extracted: set[Path] = field(default_factory=set)
    """Folders that this server was seen to extract environments into."""
    before: set[Path] = field(init=False)
    """Folders that were there before it was started."""
    process: subprocess.Popen[bytes] = field(init=False)

    @contextlib.contextmanager
    def running(self, args: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
        """Run *args* until the block is left, its output in the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.before = _extractions()
        tethered = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *args]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                tethered,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            self._stop()

    def wait(self, timeout: float, longest: float = 0.5) -> RunningServer:
        """Wait until the server is ready, looking at least every *longest* seconds."""
        deadline = time.monotonic() + timeout
        pause = min(0.05, longest)
        while True:
            code = self.process.poll()
            if code is not None:
                raise self._death(code)
            version = self._ready()
            if version is not None:
                return RunningServer(
                    http=self.http, grpc=self.grpc, process=self.process, log=self.log, version=version
                )
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"{self.title} was not ready after {timeout:g} s; the last lines of its log "
                    f"({self.log}):\n{_last_lines(self.log)}",
                    hint="a model that loads slowly needs a longer time; one that hangs shows where in the log",
                )
            self._look()
            time.sleep(pause)
            pause = min(pause * 1.5, longest)

    def _death(self, code: int) -> Exception:
        how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        text = _last_lines(self.log)
        if _PORT_TAKEN.search(text) and any(
            address.split(":")[1] in text for address in (self.http, self.grpc)
        ):
            return PortTakenError(f"{self.title} could not use {self.http} or {self.grpc}:\n{text}")
        return VerifyError(
            f"{self.title} {how} before it was ready; the last lines of its log ({self.log}):\n{text}",
            hint="the first error in the log is the cause: a model that does not load, or a missing library",
        )

    def _ready(self) -> str | None:
        """Return the version of our server once it is ready, None before; another's answer does not count."""
        connection = http.client.HTTPConnection(self.http, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                return None
            connection.request("GET", "/v2")
            about = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return str(about.get("version", "")) if about.get("name") == self.name else None

    def _look(self) -> None:
        """Note which extraction folders are this server's: its working directory, or its stubs' libraries."""
        for process in _group(self.process.pid):
            with contextlib.suppress(OSError):
                self._note(os.readlink(process / "cwd").encode())
            for source in ("maps", "cmdline", "environ"):
                with contextlib.suppress(OSError):
                    self._note((process / source).read_bytes())

    def _remember(self) -> None:
        """Note the folder that the server has made and not used yet: nothing but its memory names it.

        It makes one for each backend that is loaded, and leaves it where it is ended before it is ready.
        """
        folder = Path("/proc") / str(self.process.pid)
        with contextlib.suppress(OSError, ValueError), (folder / "mem").open("rb", buffering=0) as memory:
            for begin, end in _heaps((folder / "maps").read_text()):
                memory.seek(begin)
                self._note(memory.read(end - begin) or b"")

    def _note(self, text: bytes) -> None:
        self.extracted.update(Path(os.fsdecode(found)) for found in _EXTRACTED.findall(text))

    def _stop(self) -> None:
        self._look()
        self._remember()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(_TERMINATE_AFTER)
        except subprocess.TimeoutExpired:
            self._look()
        with contextlib.suppress(ProcessLookupError):  # stubs of a server that died live on in its group
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.returncode < 0 and not _other_servers():
            self.extracted |= _extractions() - self.before
        for folder in self.extracted - self.before:
            shutil.rmtree(folder, ignore_errors=True)
        for region in Path("/dev/shm").glob(f"{self.name}*"):
            region.unlink(missing_ok=True)


def _heaps(maps: str) -> Iterator[tuple[int, int]]:
    """Yield where a process keeps what it allocated in small pieces, as its ``maps`` say."""
    for line in maps.splitlines():
        place, mode, _, _, inode, *name = line.split()
        begin, end = (int(address, 16) for address in place.split("-"))
        if mode == "rw-p" and inode == "0" and name in ([], ["[heap]"]) and end - begin <= _HEAP:
            yield begin, end


def _extractions() -> set[Path]:
    """Return the folders of this user's that any server extracted environments into."""
    found = set()
    for folder in Path("/tmp").glob("python_env_??????"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                found.add(folder)
    return found


def _other_servers() -> bool:
    """Say whether a server is running, whose new folder might be mistaken for one of ours."""
    for name in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if name.read_text(errors="replace").strip() == "tritonserver":
                return True
    return False


def _group(leader: int) -> list[Path]:
    """Return the /proc folders of the processes in the process group of *leader*."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                status = (entry / "stat").read_text(errors="replace")
                if int(status.rpartition(")")[2].split()[2]) == leader:
                    found.append(entry)
    return found


def _last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """Return the end of a log without the server's tables, and before it the errors further up."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = [line[:_LINE_LENGTH] for line in lines if line.strip() and not _TABLE.match(line)]
    errors = [line for line in told[:-count] if _ERROR.search(line)]
    return "\n".join(f"  | {line}" for line in [*errors[-count:], *told[-count:]]) or "  | (nothing)"


def port_of(address: str) -> str:
    """Return the port of ``127.0.0.1:port``."""
    return address.rpartition(":")[2]
