"""A real S3 server on loopback: moto's, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from s3fs import S3FileSystem

_SERVER = """
import sys
from pathlib import Path
from werkzeug.serving import make_server
from moto.server import DomainDispatcherApplication, create_backend_app
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
Path(sys.argv[1]).write_text(str(server.port))
server.serve_forever()
"""


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run a server; give its address."""
    port = folder / "port"
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS},
    )
    try:
        deadline = time.monotonic() + 60
        while not (port.is_file() and port.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.read_text()}"
    finally:
        process.kill()
        process.wait()


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key-of-a-test", "AWS_SECRET_ACCESS_KEY": "secret-of-a-test"}


def use_server(endpoint: str, patched: pytest.MonkeyPatch) -> dict[str, str]:
    """Make the server at *endpoint* this process's S3; return the variables that do it."""
    variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in variables.items():
        patched.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # it remembers the server of the test before
    return variables


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket; moto's server asks for no signature."""
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 200
