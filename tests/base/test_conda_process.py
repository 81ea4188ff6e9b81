"""Channels whose listing has no end: py-rattler is stopped at a limit, and the channel is named."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import zstandard

from envbuilder.base import conda_process
from envbuilder.base.conda_solver import solve_conda
from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session

RECIPE = 'triton: "25.06"\npython: "3.12"\ntorch: "2.7.1"\ncuda: cpu\nprovider: conda\n'
BAD_DATA = (
    r"recipe mine: the channel team \(.*\) does not respond, or returns invalid data:\n  failed to .*\n  "
)
LIMITS = "a channel's listing may have 1.0 MB a file, and take 160.0 MB of memory to read"


class Endless(BaseHTTPRequestHandler):
    """Sends a listing that has only a beginning."""

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        if not self._head():
            return
        packed = zstandard.ZstdCompressor(level=1).compressobj()
        with contextlib.suppress(OSError):  # who reads it has gone
            while True:
                if "slow" in self.path:
                    self.wfile.write(b" ")
                    time.sleep(0.1)
                else:
                    self.wfile.write(packed.compress(bytes(2**20)))

    def _head(self) -> bool:
        found = self.path.endswith("zst/team/noarch/repodata.json.zst") or bool(
            re.search("slow/.*/repodata.json$", self.path)
        )
        self.send_response(200 if found else 404)
        self.end_headers()
        return found

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def endless() -> Iterator[str]:
    """The address of a server of such listings."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def many(folder: Path) -> str:
    """Write a listing of many packages that each need Python's."""
    row = {
        "name": "python",
        "build": "0",
        "build_number": 0,
        "depends": ["x >=1"] * 20,
        "version": "1",
        "size": 1,
    }
    rows = {f"python-1.{number}-0.tar.bz2": row for number in range(12_000)}
    return write(folder, json.dumps({"packages": rows}).encode())


def sparse(folder: Path) -> str:
    """Write a listing of 10 GB that takes no disk."""
    address = write(folder, b"")
    for subdir in ("linux-64", "noarch"):
        with open(folder / "team" / subdir / "repodata.json", "wb") as file:
            file.truncate(10**10)
    return address


def write(folder: Path, data: bytes, name: str = "team") -> str:
    for subdir in ("linux-64", "noarch"):
        (folder / name / subdir).mkdir(parents=True)
        (folder / name / subdir / "repodata.json").write_bytes(data)
    return (folder / name).as_uri()


@pytest.mark.parametrize("case", ["many", "sparse", "zst", "slow"])
def test_a_listing_without_an_end(
    tmp_path: Path, endless: str, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    limits = conda_process.Limits(memory=16 * 10**7, file=10**6, seconds=2.0 if case == "slow" else 40.0)
    monkeypatch.setattr(conda_process, "LIMITS", limits)
    local = {"many": many, "sparse": sparse}
    address = local[case](tmp_path) if case in local else f"{endless}/{case}/team"
    channels = (
        [write(tmp_path / "other", b'{"packages": {}}', "other"), address] if case == "many" else [address]
    )
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE + f"channels: {json.dumps(channels)}\n")
    store = Store.open(tmp_path / "store")
    with pytest.raises(ResolveError) as caught:
        solve_conda(load_recipe(path), Session(settings=Settings(), store=store))
    message, hint = caught.value.message, caught.value.hint or ""
    too_much = (
        rf"recipe mine: py-rattler took more than %s to read the listing of team \({re.escape(address)}\)"
    )
    # Short of memory, py-rattler sometimes hangs instead of aborting: then the time limit ends it. Of a listing that
    # is unpacked while it arrives, a busy machine meets any of the three limits first.
    if case == "slow" or re.fullmatch(too_much % "(160.0 MB of memory|1 minute)", message):
        assert case != "slow" or re.fullmatch(too_much % "0 minutes", message), message
        assert "leave that channel out" in hint
    else:
        assert case != "many", message
        number = 12 if case == "sparse" else 27
        assert re.fullmatch(BAD_DATA + rf"[^\n]*\(os error {number}\)", message), message
        assert hint == LIMITS
    left = [
        path for path in store.root.rglob("*") if path.name.startswith(".tmp") or path.parent.name == "tmp"
    ]
    assert not left
