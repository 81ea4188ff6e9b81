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
    """Added to the few variables that the server gets."""
    ready_timeout: float = 300.0
    """Seconds until it must be ready."""
    pause: float = 0.5
    """Seconds, the longest between two looks whether it is ready."""
    http_port: int | None = None
    """None: a free one. So with the gRPC port."""
    grpc_port: int | None = None
    metrics: bool = False
    """Whether it has metrics, which models of a user's own may add to; at a free port, if none is given."""
    metrics_port: int | None = None
    backends: Path | None = None
    """A folder of further backends."""
    within: tuple[str, ...] = ()
    """What the command begins with."""
    unload: bool = True
    """Whether it unloads its models when it is stopped; else it is killed, which takes less time."""
    cancelled: Callable[[], bool] = lambda: False
    """Says whether it need not become ready any more: then starting it may end in a VerifyError at once."""

    def ports(self) -> tuple[tuple[str, int | None], ...]:
        """Name the ports that may be given."""
        return ("HTTP", self.http_port), ("gRPC", self.grpc_port), ("metrics", self.metrics_port)


class Server(Protocol):
    """A server that can be started."""

    @property
    def pythons(self) -> Collection[str]:
        """The minor versions of Python whose environments it can serve: ``3.11``."""

    @property
    def release(self) -> str | None:
        """The Triton release that it is (``25.06``), where that is known."""

    def describe(self) -> str:
        """Name it for a person."""

    def start(
        self, repository: Path | str, *, python: str, log: Path, options: StartOptions = StartOptions()
    ) -> AbstractContextManager[RunningServer]:
        """Serve the model repository *repository* on loopback until the block is left, and leave nothing behind.

        It speaks the KServe protocol (v2) by HTTP and gRPC, as ``tritonclient`` does. Its output goes to *log*.

        Raises:
            VerifyError: it does not become ready in time; the message ends with the last lines of its log.
        """


@runtime_checkable
class Identified(Protocol):
    """A server of which what was proven can be recorded: it says when it is another one."""

    def identity(self) -> str:
        """Return what changes when the server does: a digest of its files, or of its image.

        Raises:
            OSError: it cannot be read.
        """


class ServerFinder(Protocol):
    """Finds the server that verification asks, ``verify --server-kind NAME``.

    A distribution adds one by an entry point, which names a class that is called without arguments::

        [project.entry-points."envbuilder.servers"]
        container = "acme_server:ContainerServers"
    """

    def find(self, program: Path | None, session: Session, *, fetch: bool) -> Server:
        """Return the server, *program* where one was named; with *fetch* it may be downloaded.

        Raises:
            VerifyError: there is none; where none was asked for, verification goes on without.
        """


SERVERS: Final[Registry[ServerFinder]] = Registry(
    "envbuilder.servers",
    "server",
    built_in={"tritonserver": "envbuilder.verification.server.tritonserver:TritonServers"},
    needs=("find",),
)
"""Every kind of server there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerChoice:
    """Whether a real server is asked, and which."""

    ask: bool | None = None
    """None: if one is available. True: one is fetched where there is none."""
    kind: str = "tritonserver"
    """The name of a :class:`ServerFinder`."""
    program: Path | None = None
    """The server's program, or the folder that holds ``bin/tritonserver``; then it is asked."""
    ready_timeout: float = 300.0
    """Seconds that it gets to load the model."""

    @property
    def required(self) -> bool:
        """Whether it is an error that there is none."""
        return bool(self.ask) or self.program is not None
