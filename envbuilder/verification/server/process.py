"""One process of a server: started on loopback, waited for, and stopped without leaving anything behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.errors import VerifyError
from envbuilder.util.interruption import shielded
from envbuilder.verification.server.cleanup import TERMINATE_AFTER, Remains, extractions, guarded

_LAST_LINES: Final = 20
_PORT_TAKEN: Final = re.compile(
    r"already in use|Address already in use|failed to (?:start|bind)", re.IGNORECASE
)
_TABLE: Final = re.compile(r"[+|]|[IW]\d{4} .*\] *$")
_ERROR: Final = re.compile(r"^E\d{4} |Failed to initialize Python stub|error while loading shared libraries")
_UNHEALTHY: Final = re.compile(r"Stub process '.*' is not healthy")
"""What ``ReceiveMessageFromStub`` of the Python backend says when a stub did not count its health for 1,000 ms."""
_LINE_LENGTH: Final = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningServer:
    """A server that is ready."""

    http: str
    """``127.0.0.1:port``."""
    grpc: str
    """``127.0.0.1:port``."""
    log: Path
    version: str
    """What the server says of itself: ``2.51.0``."""
    pid: int | None = None
    """Of a server that is a process of this machine."""

    def last_lines(self, count: int = _LAST_LINES) -> str:
        """Return the end of its log."""
        return _last_lines(self.log, count)


class PortTakenError(Exception):
    """Somebody took the port between its choice and its use."""


@dataclass(kw_only=True)
class ServerProcess:
    """One process of a server, from its start to the last file it left."""

    title: str
    """The server's name for a person."""
    log: Path
    http: str
    grpc: str
    name: str = field(default_factory=lambda: f"envbuilder-{uuid.uuid4().hex[:12]}")
    remains: Remains = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    unloading: bool = True
    """Whether it may unload its models when it is stopped: not where this process is to end at once."""

    @contextlib.contextmanager
    def running(self, args: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
        """Run *args* until the block is left, its output in the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        before = extractions()
        with guarded(self.name, before), self.log.open("wb") as output, contextlib.ExitStack() as stack:
            with shielded():
                self.process = subprocess.Popen(
                    list(args),
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.remains = Remains(name=self.name, pid=self.process.pid, before=before)
                stack.push(self._leave)
            yield

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
                    http=self.http, grpc=self.grpc, log=self.log, version=version, pid=self.process.pid
                )
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"{self.title} was not ready after {timeout:g} s; the last lines of its log "
                    f"({self.log}):\n{_last_lines(self.log)}",
                    hint="a model that loads slowly needs a longer time; one that hangs shows where in the log",
                )
            self.remains.look()
            time.sleep(pause)
            pause = min(pause * 1.5, longest)

    def _death(self, code: int) -> Exception:
        how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        text = _last_lines(self.log)
        if _PORT_TAKEN.search(text) and any(
            address.split(":")[1] in text for address in (self.http, self.grpc)
        ):
            return PortTakenError(f"{self.title} could not use {self.http} or {self.grpc}:\n{text}")
        hint = "the first error in the log is the cause: a model that does not load, or a missing library"
        if _UNHEALTHY.search(text):
            hint = (
                "a stub died, or got no processor for a second while it loaded: then the server takes it for dead, "
                "and trying again on a machine that is less busy helps"
            )
        return VerifyError(
            f"{self.title} {how} before it was ready; the last lines of its log ({self.log}):\n{text}",
            hint=hint,
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

    def _leave(self, kind: type[BaseException] | None, *_: object) -> None:
        self.unloading = kind is None or issubclass(kind, Exception)
        self._stop()

    def _stop(self) -> None:
        self.remains.look()
        self.remains.remember()
        if self.unloading:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                self.process.wait(TERMINATE_AFTER)
            except subprocess.TimeoutExpired:
                self.remains.look()
        self.remains.kill()
        self.process.wait()
        self.remains.clear(killed=self.process.returncode < 0)


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
