"""Indexes and a store of its own for each test, and nothing of this machine's configuration."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.fetch import sources as fetch_sources
from envbuilder.store.local import Store
from tests.conftest import REPOSITORY
from tests.helpers.indexes import LINUX, Server, Sources


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """PyTorch's index with torch 2.7.1 for cpu and cu126, and a package index with its own build."""
    root = tmp_path / "indexes"
    root.mkdir()
    return _fill(Sources(root=root))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Sources, Server]]:
    """The same, on the loopback."""
    root = tmp_path / "served"
    root.mkdir()
    with Server(root) as server:
        yield _fill(Sources(root=root, base=server.base)), server


def _fill(sources: Sources) -> Sources:
    for cuda in ("cpu", "cu126"):
        place = f"pytorch/{cuda}"
        sources.publish(place, "torch", f"2.7.1+{cuda}", requires=["numpy"], tag=LINUX)
        sources.publish(place, "torchvision", f"0.22.1+{cuda}", requires=["torch==2.7.1"], tag=LINUX)
        sources.publish(place, "numpy", "1.99.0")  # PyTorch's index has such copies; they must not count
    sources.publish("pypi", "torch", "2.7.1", requires=["numpy"], tag=LINUX)
    sources.publish("pypi", "torchvision", "0.22.1", requires=["torch==2.7.1"], tag=LINUX)
    for version in ("1.25.0", "1.26.4", "2.1.0"):
        sources.publish("pypi", "numpy", version)
    sources.publish("pypi", "safetensors", "0.8.0")
    return sources


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "store")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fetch_sources, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "UV_CACHE_DIR",
        "XDG_CONFIG_HOME",
        "PYENV_ROOT",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


OLDEST = "0.13.0"
"""The oldest uv that pyproject.toml allows."""


@pytest.fixture(scope="module")
def oldest_uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest uv that may be installed beside this package."""
    assert f'"uv>={OLDEST.removesuffix(".0")}"' in (REPOSITORY / "pyproject.toml").read_text()
    folder = tmp_path_factory.mktemp("uv")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    command += ["--disable-pip-version-check", f"uv=={OLDEST}"]
    subprocess.run(command, check=True)
    return folder / "bin" / "uv"


@pytest.fixture(params=["installed", pytest.param("oldest", marks=pytest.mark.network)])
def each_uv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The uv that solves: the one that is installed, and the oldest one that may be."""
    if request.param == "oldest":
        path = str(request.getfixturevalue("oldest_uv"))
        monkeypatch.setattr("envbuilder.resolve.solver.find_uv_bin", lambda: path)
