"""Finding, starting and stopping a server: with programs that behave as servers do at their worst, and a real one."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, VerifyError
from envbuilder.lockfile.model import Artifact
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.server import tritonserver as server_module
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer, find_server
from tests.helpers.environments import patched, some_elf
from tests.verification.server.conftest import (
    SERVING,
    is_alive,
    program,
    repository,
)


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# -- a server that fails ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "option"), [("HTTP", "http_port"), ("gRPC", "grpc_port")])
def test_a_port_that_is_taken(tmp_path: Path, name: str, option: str) -> None:
    fake = program(tmp_path, "sys.exit('it must not be started')")
    with (
        taken_port() as port,
        pytest.raises(VerifyError) as caught,
        fake.start(
            tmp_path,
            python="3.11",
            log=tmp_path / "log",
            options=StartOptions(**{option: port}),  # type: ignore[arg-type]  # by name
        ),
    ):
        pass
    assert str(caught.value) == (
        f"{name} port {port} of 127.0.0.1 is taken\n  hint: omit the port to have a free one chosen"
    )
    assert not (tmp_path / "log").exists()


def test_ports_taken_after_they_were_chosen(tmp_path: Path) -> None:
    fake = program(
        tmp_path,
        """
        with open(options["model-repository"] + "/tries", "a") as file:
            file.write("x")
        socket = f"127.0.0.1:{options['http-port']}"
        sys.exit(f"error: failed to start HTTP service: Unavailable - Socket '{socket}' already in use")
        """,
    )
    with pytest.raises(VerifyError) as caught, fake.start(tmp_path, python="3.11", log=tmp_path / "log"):
        pass
    assert (tmp_path / "tries").read_text() == "xxx"
    assert caught.value.message.startswith(f"{fake.binary} could not use 127.0.0.1:")
    assert caught.value.hint == "another process takes free ports as fast as they are found"


def test_no_stub_for_that_python(tmp_path: Path) -> None:
    fake = program(tmp_path, "")
    with pytest.raises(VerifyError) as caught, fake.start(tmp_path, python="3.7", log=tmp_path / "log"):
        pass
    assert str(caught.value) == (
        f"{fake.binary} has no stub for Python 3.7; it has 3.11\n"
        "  hint: name a server of the archive's release with --tritonserver"
    )


# -- a server that is stopped ----------------------------------------------------------------------


def test_what_a_server_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = program(
        tmp_path, 'NAME = options["id"]\nprint(json.dumps([options, dict(os.environ)]), flush=True)' + SERVING
    )
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    log = tmp_path / "log"
    with fake.start(tmp_path, python="3.11", log=log, options=StartOptions(env={"MINE": "1"})) as running:
        assert running.version == "9.9"
        connection = http.client.HTTPConnection(running.http)
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        connection.close()
    options, variables = json.loads(log.read_text())
    assert options["http-address"] == options["grpc-address"] == "127.0.0.1"
    assert options["allow-metrics"] == "false"
    assert {"PYTHONPATH", "VIRTUAL_ENV"} & set(variables) == set()
    assert (variables["MINE"], variables["CUDA_VISIBLE_DEVICES"]) == ("1", "")


# -- finding one -----------------------------------------------------------------------------------


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "store")


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_no_server_at_that_path(tmp_path: Path, empty_store: Store) -> None:
    with pytest.raises(VerifyError) as caught:
        find_server(tmp_path / "none", Session(settings=Settings(), store=empty_store))
    assert str(caught.value) == (
        f"{tmp_path}/none is not an executable tritonserver\n"
        "  hint: set --tritonserver to the program, or to the folder that contains bin/tritonserver"
    )


def test_a_server_without_a_python_backend(tmp_path: Path, empty_store: Store) -> None:
    fake = program(tmp_path / "x", "")
    (tmp_path / "x" / "backends").rename(tmp_path / "x" / "elsewhere")
    with pytest.raises(VerifyError, match="no Python backend in") as caught:
        find_server(fake.binary, Session(settings=Settings(), store=empty_store))
    assert caught.value.hint == "use a server that has the Python backend"


@pytest.mark.parametrize("by", ["program", "folder", "PATH"])
def test_an_installed_server(
    tmp_path: Path, empty_store: Store, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    fake = program(tmp_path / "x", "")
    stub = tmp_path / "x" / "backends" / "python" / "triton_python_backend_stub"
    stub.write_bytes(patched(some_elf(), tmp_path, "--add-needed", "libpython3.12.so.1.0"))
    monkeypatch.setenv("PATH", str(fake.binary.parent))
    path = {"program": fake.binary, "folder": tmp_path / "x", "PATH": None}[by]
    found = find_server(path, Session(settings=Settings(), store=empty_store))
    assert found.binary == fake.binary
    assert found.stubs == {"3.12": stub}
    assert found.describe() == str(fake.binary)


@pytest.mark.usefixtures("no_path")
def test_none_at_hand(empty_store: Store) -> None:
    with pytest.raises(VerifyError) as caught:
        find_server(None, Session(settings=Settings(), store=empty_store), fetch=False)
    assert str(caught.value) == (
        "no tritonserver on PATH or in the store\n"
        "  hint: name one with --tritonserver PATH, or fetch one from the package index with --server"
    )


@pytest.mark.usefixtures("no_path")
def test_the_one_in_the_wheel(tmp_path: Path, empty_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "links" / server_module.SERVER_WHEEL.filename
    wheel.parent.mkdir()
    home = "pytriton/tritonserver"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (f"{home}/bin/tritonserver", f"{home}/backends/python/libtriton_python.so"):
            archive.writestr(name, "x")
        archive.writestr(f"{home}/python_backend_stubs/3.11/triton_python_backend_stub", "x")
        archive.writestr("nvidia_pytriton.libs/libarchive-1.so", "x")
        archive.writestr("pytriton/__init__.py", "x")
    data = wheel.read_bytes()
    artifact = Artifact(
        name="nvidia-pytriton",
        version="0.7.0",
        filename=wheel.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    monkeypatch.setattr(server_module, "SERVER_WHEEL", artifact)
    settings = Settings(find_links=(str(wheel.parent),), no_index=True)
    found = find_server(None, Session(settings=settings, store=empty_store))
    assert os.access(found.binary, os.X_OK)
    assert os.access(found.stubs["3.11"], os.X_OK)
    assert sorted(found.stubs) == ["3.10", "3.11", "3.12", "3.8", "3.9"]
    root = found.libraries[0].parent
    assert sorted(path.name for path in root.iterdir()) == ["nvidia_pytriton.libs", "pytriton"]
    assert not (root / "pytriton" / "__init__.py").exists()
    wheel.unlink()
    assert (
        find_server(None, Session(settings=settings, store=empty_store), fetch=False) == found
    )  # from the store
    assert found.describe() == "pytriton-0.7.0 (Triton 2.51.0, release 24.10)"


@pytest.mark.usefixtures("no_path")
def test_a_wheel_with_other_bytes_is_no_server(tmp_path: Path, empty_store: Store) -> None:
    wheel = tmp_path / "links" / server_module.SERVER_WHEEL.filename
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pytriton/tritonserver/bin/tritonserver", "evil")
    settings = Settings(find_links=(str(wheel.parent),), no_index=True)
    with pytest.raises(IntegrityError, match=re.escape(wheel.name)):
        find_server(None, Session(settings=settings, store=empty_store))
    assert not (empty_store.root / "tools").exists()


# -- a real one ------------------------------------------------------------------------------------

ECHO = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "x") for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", x.as_numpy() + 1)]) for x in inputs]
"""


@pytest.mark.server
@pytest.mark.network
def test_a_real_server_answers(tmp_path: Path, server: TritonServer, cpu_environment: Path) -> None:
    models = repository(tmp_path, cpu_environment, ECHO)
    with server.start(models, python="3.11", log=tmp_path / "log") as running:
        assert running.version == "2.51.0"
        for module, address in ((tritonclient.http, running.http), (tritonclient.grpc, running.grpc)):
            with module.InferenceServerClient(address) as client:
                tensor = module.InferInput("x", [2], "FP32")
                tensor.set_data_from_numpy(np.array([1, 2], np.float32))
                assert client.infer("echo", [tensor]).as_numpy("y").tolist() == [2, 3]
        pid = running.pid
        assert pid is not None
        # Other servers of these tests run beside this one: only what bears its own name is asked after.
        (name,) = re.findall(r"--id=(envbuilder-\w+)", Path(f"/proc/{pid}/cmdline").read_text())
        assert list(Path("/dev/shm").glob(f"{name}*")) != []
    assert not is_alive(pid)
    assert list(Path("/dev/shm").glob(f"{name}*")) == []


@pytest.mark.server
@pytest.mark.network
def test_a_model_that_does_not_load_shows_in_the_error(
    tmp_path: Path, server: TritonServer, cpu_environment: Path
) -> None:
    models = repository(tmp_path, cpu_environment, "import nothing_of_this_name\n")
    with (
        pytest.raises(VerifyError, match="No module named 'nothing_of_this_name'") as caught,
        server.start(models, python="3.11", log=tmp_path / "log"),
    ):
        pass
    assert caught.value.message.startswith(
        "pytriton-0.7.0 (Triton 2.51.0, release 24.10) exited with 1 before"
    )
