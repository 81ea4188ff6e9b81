"""A server process: start it on loopback, wait until it is ready, stop it and clean up."""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.errors import VerifyError
from envbuilder.util.documents import DocumentError, parse_json
from envbuilder.util.files import read_ends
from envbuilder.util.interruption import shielded
from envbuilder.util.process import announce
from envbuilder.verification.server.cleanup import TERMINATE_AFTER, Leftovers, extractions, guarded

MOST_LOG: Final = 2**22
"""How many bytes of a log's beginning and end are read: a model may print any amount."""
_LAST_LINES: Final = 20
_MOST_ANSWER: Final = 2**20
"""Largest response in bytes: another program may own the port."""
_PORT_TAKEN: Final = re.compile(
    r"already in use|Address already in use|failed to (?:start|bind)", re.IGNORECASE
)
_TABLE: Final = re.compile(r"[+|]|[IW]\d{4} .*\] *$")
_ERROR: Final = re.compile(r"^E\d{4} |Failed to initialize Python stub|error while loading shared libraries")
_UNHEALTHY: Final = re.compile(r"Stub process '.*' is not healthy")
"""The message of ``ReceiveMessageFromStub`` of the Python backend if a stub's health check timed out after 1,000
ms."""
_LINE_LENGTH: Final = 600
_LOADING: Final = re.compile(r'"loading: (?P<name>.+):\d+"')
_LOADED: Final = re.compile(
    r"successfully loaded '(?P<name>[^']+)'|failed to load '(?P<failed>[^']+)' version"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningServer:
    """A server that is ready."""

    http: str
    """``127.0.0.1:port``."""
    grpc: str
    """``127.0.0.1:port``."""
    log: Path
    version: str
    """The server's own version: ``2.51.0``."""
    pid: int | None = None
    """Its process id, if it is a process of this machine."""
    patience: float = 120.0
    """Seconds that clients wait for a response, or for the next one."""

    def last_lines(self, count: int = _LAST_LINES) -> str:
        """Return the end of its log."""
        return _last_lines(self.log, count)


class PortTakenError(Exception):
    """Another process took the port between its choice and its use."""


@dataclass(kw_only=True)
class ServerProcess:
    """One process of a server, from its start to the removal of its last file."""

    title: str
    """The server's name for messages."""
    log: Path
    http: str
    grpc: str
    metrics: str | None = None
    """None: it has none."""
    name: str = field(default_factory=lambda: f"envbuilder-{uuid.uuid4().hex[:12]}")
    leftovers: Leftovers = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    unload: bool = True
    """Whether it may unload its models when it is stopped; not if this process has to end at once."""

    @contextlib.contextmanager
    def running(self, args: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
        """Run *args* until the block is left, with its output in the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        before = extractions()
        with guarded(self.name, before), self.log.open("wb") as output, contextlib.ExitStack() as stack:
            announce(args)
            with shielded():
                self.process = subprocess.Popen(
                    list(args),
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.leftovers = Leftovers(name=self.name, pid=self.process.pid, before=before)
                stack.push(self._leave)
            yield

    def wait(
        self, timeout: float, longest: float = 0.5, cancelled: Callable[[], bool] = lambda: False
    ) -> RunningServer:
        """Wait until the server is ready, polling at least every *longest* seconds, unless *cancelled*."""
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
            if cancelled():
                raise VerifyError(f"{self.title} was cancelled before it was ready")
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"{self.title} was not ready after {timeout:g} s; the last lines of its log "
                    f"({self.log}):\n{_last_lines(self.log)}",
                    hint="increase the timeout if a model loads slowly; the log shows where one hangs",
                )
            self.leftovers.look()
            time.sleep(pause)
            pause = min(pause * 1.5, longest)

    def _death(self, code: int) -> Exception:
        how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        text = _last_lines(self.log)
        if _PORT_TAKEN.search(text) and any(
            port_of(address) in text for address in (self.http, self.grpc, self.metrics) if address
        ):
            return PortTakenError(f"{self.title} could not use {self.http} or {self.grpc}:\n{text}")
        hint = "see the first error in the log: usually a model that does not load, or a missing library"
        if _UNHEALTHY.search(text):
            hint = (
                "a stub died, or got no CPU time for a second while it loaded, and the server considered it dead: "
                "try again, on a less busy machine"
            )
        return VerifyError(
            f"{self.title} {how} before it was ready; the last lines of its log ({self.log}):\n{text}",
            hint=hint,
        )

    def _ready(self) -> str | None:
        """Return the version of our server once it is ready, None before; another program's response is ignored."""
        connection = http.client.HTTPConnection(self.http, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            answer.read(_MOST_ANSWER)
            if answer.status != 200:
                return None
            connection.request("GET", "/v2")
            about = parse_json(connection.getresponse().read(_MOST_ANSWER), where=self.title)
            if about.free_text("name") != self.name:
                return None
            return about.free_text("version") if "version" in about else ""
        except (OSError, http.client.HTTPException, DocumentError):
            return None
        finally:
            connection.close()

    def _leave(self, kind: type[BaseException] | None, *_: object) -> None:
        self.unload &= kind is None or issubclass(kind, Exception)
        self.stop()

    def stop(self) -> None:
        """Stop the server, and remove its leftovers."""
        self.leftovers.look()
        self.leftovers.remember()
        if self.unload:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                self.process.wait(TERMINATE_AFTER)
            except subprocess.TimeoutExpired:
                self.leftovers.look()
        self.leftovers.kill()
        self.process.wait()
        self.leftovers.clear(killed=self.process.returncode < 0)


def unfinished(log: Path) -> list[str]:
    """Return the models that a server began to load and, according to its log, neither loaded nor refused."""
    try:
        text = read_ends(log, MOST_LOG)
    except OSError:
        return []
    ended = {match["name"] or match["failed"] for match in _LOADED.finditer(text)}
    return sorted({match["name"] for match in _LOADING.finditer(text)} - ended)


def _last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """Return the end of a log without the server's tables, after earlier errors."""
    try:
        lines = read_ends(log, MOST_LOG).splitlines()
    except OSError:
        lines = []
    told = [line[:_LINE_LENGTH] for line in lines if line.strip() and not _TABLE.match(line)]
    errors = [line for line in told[:-count] if _ERROR.search(line)]
    return "\n".join(f"  | {line}" for line in [*errors[-count:], *told[-count:]]) or "  | (nothing)"


def port_of(address: str) -> str:
    """Return the port of ``127.0.0.1:port``."""
    return address.rpartition(":")[2]
