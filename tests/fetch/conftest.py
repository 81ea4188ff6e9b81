"""Indexes on the loopback, and artifacts to fetch from them."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from envbuilder.config.channels import Channel
from envbuilder.config.settings import Settings
from envbuilder.fetch import sources
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.model import Artifact, CondaPackage
from envbuilder.progress import SilentReporter, Task
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.index_server import Index


class MakeIndex(Protocol):
    def __call__(
        self, *, ranges: bool = True, as_json: bool = False, hashes: bool = True, tls: bool = False
    ) -> Index: ...


@pytest.fixture
def make_index() -> Iterator[MakeIndex]:
    with ExitStack() as stack:

        def make(
            *, ranges: bool = True, as_json: bool = False, hashes: bool = True, tls: bool = False
        ) -> Index:
            return stack.enter_context(Index(ranges=ranges, as_json=as_json, hashes=hashes, tls=tls))

        yield make


@pytest.fixture
def index(make_index: MakeIndex) -> Index:
    return make_index()


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "store")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let nothing of this machine's configuration in, and do not wait between tries."""
    monkeypatch.setattr(sources, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def make_wheel(filename: str, size: int = 300_000) -> tuple[Artifact, bytes]:
    """Return an artifact and its bytes; nothing looks into them here."""
    data = random.Random(filename).randbytes(size)
    name, version = filename.split("-")[:2]
    artifact = Artifact(
        name=name.replace("_", "-").lower(),
        version=version,
        filename=filename,
        sha256=hashlib.sha256(data).hexdigest(),
        size=size,
    )
    return artifact, data


def leftovers(store: Store) -> list[str]:
    """List what a store has that is no artifact."""
    return [str(path.relative_to(store.root)) for path in (store.root / "tmp").rglob("*")]


TOOL = CondaPackage(
    name="tool",
    version="1!1.0",
    build="0",
    channel="own",
    subdir="noarch",
    filename="tool-1!1.0-0.conda",
    sha256="0" * 64,
    size=1,
)


def own(index: Index) -> list[Channel]:
    return [Channel(name="own", urls=(f"{index.base}/files/own",))]


def fetch_one(artifact: Artifact, settings: Settings, store: Store, cuda: str = "pypi") -> bytes:
    [(got, path)] = fetch([artifact], cuda, Session(settings=settings, store=store))
    assert got is artifact
    assert path == store.find_artifact(artifact.sha256)
    return path.read_bytes()


Answer = Callable[[socket.socket, str], None]
"""Sends what it likes to one client; it is told the server's own address."""


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Answer every request on the loopback like that; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def one(client: socket.socket) -> None:
            with client, suppress(OSError):
                client.settimeout(10)
                client.recv(2**16)
                answer(client, url)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield url
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


class Notes(SilentReporter):
    """Keeps notes, and adds bytes up."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.total: int | None = None
        self.done = 0
        self.from_store = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, text: str, total: int | None, unit: str = "bytes") -> Iterator[Task]:
        self.total = total
        yield self

    def advance(self, amount: int, *, from_store: bool = False) -> None:
        self.done += amount
        self.from_store += amount if from_store else 0
