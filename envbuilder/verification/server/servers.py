"""Choose the server for ``verify --server``: a tritonserver of this machine, or a plugin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from envbuilder.store.session import Session
from envbuilder.util.plugins import Registry
from envbuilder.verification.server.process import RunningServer


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOptions:
    """How a server is started."""

    extra_args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables in addition to the server's few."""
    ready_timeout: float = 300.0
    """Timeout in seconds until it is ready."""
    pause: float = 0.5
    """Longest interval between two readiness checks, in seconds."""
    http_port: int | None = None
    """None: a free one; likewise for gRPC."""
    grpc_port: int | None = None
    metrics: bool = False
    """Whether it has metrics, to which a user's models may add; at a free port if none is given."""
    metrics_port: int | None = None
    backends: Path | None = None
    """A folder with additional backends."""
    within: tuple[str, ...] = ()
    """A prefix of the command."""
    unload: bool = True
    """Whether it unloads its models when it is stopped; otherwise it is killed, which is faster."""
    cancelled: Callable[[], bool] = lambda: False
    """Returns whether the server is no longer needed: then starting it may raise VerifyError at once."""

    def ports(self) -> tuple[tuple[str, int | None], ...]:
        """Return the names and values of the ports."""
        return ("HTTP", self.http_port), ("gRPC", self.grpc_port), ("metrics", self.metrics_port)


class Server(Protocol):
    """A server that can be started."""

    @property
    def pythons(self) -> Collection[str]:
        """The minor versions of Python whose environments it can serve: ``3.11``."""

    @property
    def release(self) -> str | None:
        """Its Triton release (``25.06``), if known."""

    def describe(self) -> str:
        """Describe it for messages."""

    def start(
        self, repository: Path | str, *, python: str, log: Path, options: StartOptions = StartOptions()
    ) -> AbstractContextManager[RunningServer]:
        """Serve the model repository *repository* on loopback until the block is left, and clean up after it.

        It speaks the KServe protocol (v2) by HTTP and gRPC, as ``tritonclient`` does. Its output goes to *log*.

        Raises:
            VerifyError: it does not become ready in time; the message ends with the last lines of its log.
        """


@runtime_checkable
class Identified(Protocol):
    """A server whose results can be recorded, because it has an identity."""

    def identity(self) -> str:
        """Return a string that changes with the server: a digest of its files, or of its image.

        Raises:
            OSError: it cannot be read.
        """


class ServerFinder(Protocol):
    """Finds the server for a verification, ``verify --server-kind NAME``.

    A distribution adds one by an entry point, which names a class that is called without arguments::

        [project.entry-points."envbuilder.servers"]
        container = "acme_server:ContainerServers"
    """

    def find(self, program: Path | None, session: Session, *, fetch: bool) -> Server:
        """Return the server, *program* if given; with *fetch* it may be downloaded.

        Raises:
            VerifyError: there is none; if none was requested, verification continues without.
        """


SERVERS: Final[Registry[ServerFinder]] = Registry(
    "envbuilder.servers",
    "server",
    built_in={"tritonserver": "envbuilder.verification.server.tritonserver:TritonServers"},
    needs=("find",),
)
"""All kinds of servers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerChoice:
    """Whether to use a real server, and which."""

    ask: bool | None = None
    """None: use one if available. True: fetch one if there is none."""
    kind: str = "tritonserver"
    """The name of a :class:`ServerFinder`."""
    program: Path | None = None
    """The server's program, or the folder with ``bin/tritonserver``; if given, it is used."""
    ready_timeout: float = 300.0
    """Timeout for loading the model, in seconds."""

    @property
    def required(self) -> bool:
        """Whether it is an error if there is none."""
        return bool(self.ask) or self.program is not None
