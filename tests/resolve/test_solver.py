"""How uv is reached from here: the network, and what may go wrong on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.resolve.solver import solver_environment
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.session import Session
from tests.helpers.indexes import AUTHORITY, Server, Sources, lock, versions, write_recipe


@contextmanager
def deaf_server() -> Iterator[tuple[str, threading.Event]]:
    """Accept connections on the loopback and never answer; the event is set by the first one."""
    asked, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        open_connections = []

        def accept() -> None:
            while not over.is_set():
                try:
                    open_connections.append(listener.accept()[0])
                except TimeoutError:
                    continue
                asked.set()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/simple", asked
        finally:
            over.set()
            thread.join()
            for connection in open_connections:
                connection.close()


def test_an_index_behind_its_own_authority(tmp_path: Path, sources: Sources, store: Store) -> None:
    with Server(sources.root, tls=True) as server:
        index = {"index_url": f"{server.base}/pypi", "pytorch_index": f"{server.base}/pytorch"}
        recipe = write_recipe(tmp_path)
        locked = lock(recipe, sources.settings(**index, cert=AUTHORITY), store)
        assert versions(locked) == {"numpy": "1.26.4", "torch": "2.7.1+cpu"}
        with pytest.raises(ResolveError) as caught:
            lock(recipe, sources.settings(**index), Store(root=tmp_path / "store-2"))
        assert caught.value.message.startswith("a source does not respond:\n")
        assert "invalid peer certificate: UnknownIssuer" in caught.value.message
        trusting = sources.settings(**index, trusted_hosts=("127.0.0.1",))
        locked = lock(recipe, trusting, Store(root=tmp_path / "store-3"))
        assert versions(locked) == {"numpy": "1.26.4", "torch": "2.7.1+cpu"}


def test_an_index_behind_a_proxy(tmp_path: Path, served: tuple[Sources, Server], store: Store) -> None:
    sources, server = served
    settings = sources.settings(
        index_url="http://index.invalid/pypi",
        pytorch_index="http://index.invalid/pytorch",
        proxy=server.base,
    )
    assert versions(lock(write_recipe(tmp_path), settings, store)) == {
        "numpy": "1.26.4",
        "torch": "2.7.1+cpu",
    }
    assert "GET http://index.invalid/pypi/numpy/" in server.asked


def test_an_index_that_says_nothing(tmp_path: Path, sources: Sources, store: Store) -> None:
    with deaf_server() as (url, _), pytest.raises(ResolveError) as caught:
        lock(write_recipe(tmp_path), sources.settings(index_url=url, timeout=1.0), store)
    assert caught.value.message.splitlines()[0] == "a source does not respond:"
    assert "operation timed out" in caught.value.message


def test_an_index_that_answers_with_something_else(
    tmp_path: Path, served: tuple[Sources, Server], store: Store
) -> None:
    sources, _ = served
    (sources.root / "pypi" / "numpy" / "index.html").write_bytes(b"\x00\xff<a href=")
    with pytest.raises(ResolveError):
        lock(write_recipe(tmp_path), sources.settings(), store)


KILLED = """
import sys
from pathlib import Path
from envbuilder.resolve.lock import lock_recipe
from envbuilder.recipe.load import load_recipe
from envbuilder.config.settings import Settings
from envbuilder.store.session import Session
import envbuilder.base.built_in_providers
from tests.helpers.indexes import INTERPRETER
envbuilder.base.built_in_providers.find_interpreter = lambda *args, **options: None
envbuilder.base.built_in_providers.describe = lambda interpreter: INTERPRETER
recipe, index, pytorch = sys.argv[1:]
lock_recipe(
    load_recipe(Path(recipe)), Session(settings=Settings(index_url=index, pytorch_index=pytorch))
)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_while_it_solves(tmp_path: Path, sources: Sources, number: signal.Signals) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    recipe = write_recipe(folder)
    env = {**os.environ, CACHE_VARIABLE: str(tmp_path / "store"), "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(index: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", KILLED, str(recipe.path), index, sources.url("pytorch")]
        # In a group of its own: as on a terminal, the signal reaches uv too.
        return subprocess.Popen(
            command, env=env, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    sources.settings()
    with deaf_server() as (url, asked):
        with start(url) as process:
            assert asked.wait(30)
            os.killpg(process.pid, number)
            process.communicate(timeout=30)
        assert process.returncode == -number
    assert [entry.name for entry in folder.iterdir()] == ["mine.yaml"]
    with start(sources.url("pypi")) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said.decode()
    assert sorted(entry.name for entry in folder.iterdir()) == ["mine.yaml", "pylock.mine.toml"]


def test_what_uv_is_told_of_the_environment(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "https://example.org")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://one.example.org")
    settings = Settings(cert=tmp_path, client_cert=tmp_path / "me.pem", timeout=0.2)
    env = solver_environment(Session(settings=settings, store=store))
    assert "UV_INDEX_URL" not in env
    assert "PYTHONPATH" not in env
    assert env["HTTPS_PROXY"] == "http://one.example.org"
    assert (env["SSL_CERT_DIR"], env["SSL_CLIENT_CERT"]) == (str(tmp_path), str(tmp_path / "me.pem"))
    assert (env["UV_HTTP_TIMEOUT"], env["UV_CACHE_DIR"]) == ("1", str(store.root / "tools" / "uv" / "uv"))
    proxied = solver_environment(Session(settings=Settings(proxy="http://other.example.org"), store=store))
    assert proxied["HTTPS_PROXY"] == proxied["http_proxy"] == "http://other.example.org"
