from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.verification.server.tritonserver import TritonServer

HEAD = """
import http.server, json, os, pathlib, re, signal, subprocess, sys, time
options = dict(arg[2:].split("=", 1) for arg in sys.argv[1:])
"""


SERVING = """
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/v2":
            self.wfile.write(json.dumps({"name": NAME, "version": "9.9"}).encode())

    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", int(options["http-port"])), Handler).serve_forever()
"""


@pytest.fixture
def another_server(tmp_path: Path) -> Iterator[int]:
    """The process id of a program called as a server is: what new folders are whose is not known beside it."""
    program = tmp_path / "another" / "tritonserver"
    program.parent.mkdir()
    shutil.copy(str(shutil.which("sleep")), program)
    process = subprocess.Popen([program, "600"])
    yield process.pid
    process.kill()
    process.wait()


def program(folder: Path, script: str) -> TritonServer:
    """A server that is the Python *script*."""
    binary = folder / "bin" / "tritonserver"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!{sys.executable}\n{HEAD}{textwrap.dedent(script)}")
    binary.chmod(0o755)
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    (backend / "libtriton_python.so").touch()
    (backend / "triton_python_backend_stub").touch()
    return TritonServer(
        binary=binary,
        backends=folder / "backends",
        stubs={"3.11": backend / "triton_python_backend_stub"},
    )


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
folder = pathlib.Path(tempfile.mkdtemp(prefix="python_env_", dir="/tmp"))
folder = folder.rename("/tmp/python_env_" + options["id"][-6:])
os.chdir(folder)
pathlib.Path("/tmp/torch-environment-" + options["id"][-6:]).symlink_to(folder / "0")
pathlib.Path("/dev/shm/" + options["id"] + "-region").touch()
print(child.pid, os.getpid(), folder, flush=True)
NAME = options["id"]
"""


def repository(folder: Path, environment: Path, source: str) -> Path:
    version = folder / "repository" / "echo" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(source)
    (version.parent / "config.pbtxt").write_text(
        'backend: "python"\nmax_batch_size: 0\n'
        'input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]\n'
        'output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]\n'
        f'parameters: {{ key: "EXECUTION_ENV_PATH" value: {{ string_value: "{environment}" }} }}\n'
    )
    return version.parent.parent
