"""Indexes on the loopback, and artifacts to fetch from them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from envbuilder.config.channels import Channel
from envbuilder.fetch import sources
from envbuilder.lockfile.model import Artifact, CondaPackage
from envbuilder.store.local import Store
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
