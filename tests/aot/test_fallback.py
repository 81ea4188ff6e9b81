"""A model that cannot be exported: its caches go with it, and are hit wherever the environment lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

from envbuilder.bench.compilers import CompilerCount
from envbuilder.cli import cli
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.compiling import DEPENDS_ON_DATA, Inside, net, rewrite_key
from tests.runtime.conftest import Serve

pytestmark = [pytest.mark.server, pytest.mark.slow]

CONFIG = """\
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""


def ask(server: TritonServer, repository: Path, log: Path, env: dict[str, str]) -> np.ndarray[Any, Any]:
    rows = np.ones((2, 5, 4), np.float32)
    with server.start(repository, python="3.11", log=log, options=StartOptions(env=env)) as running:
        client = grpc.InferenceServerClient(running.grpc)
        request = grpc.InferInput("x", list(rows.shape), "FP32")
        request.set_data_from_numpy(rows)
        answer = client.infer("net", [request]).as_numpy("y")
        client.close()
    array: np.ndarray[Any, Any] = answer
    return array


def test_a_model_that_cannot_be_exported(
    cpu_archive: Path, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`envbuilder compile` says why, and the server answers with what went along: no compiler is run, ever."""
    model = tmp_path / "net"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(DEPENDS_ON_DATA)
    done = deploy(cpu_archive, model, tmp_path / "repository", DeployOptions(layout="shared"))
    cli.main(["compile", str(done.folder), "-q"], standalone_mode=False)
    said = capsys.readouterr().out
    assert said.startswith("net: no package (version 1, CPU): torch.export: ")
    assert "data-dependent" in said
    assert said.endswith("; Inductor's caches go along: compiled.cpu.zip\n")
    assert (done.folder / "1" / "compiled.cpu.zip").exists()
    compilers = CompilerCount(tmp_path / "compilers")
    env = {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "caches"),
        "PATH": f"{compilers.folder}:/usr/local/bin:/usr/bin:/bin",
    }
    for start in ("first", "again"):
        answer = ask(server, done.folder.parent, tmp_path / start, env)
        assert np.array_equal(answer, np.full((2, 5, 3), 2, np.float32))
        assert compilers.runs() == []


@pytest.fixture
def cached(compiling: Inside, serve: Serve) -> Path:
    """Caches beside a model that cannot be exported."""
    serve.write(DEPENDS_ON_DATA)
    described = {**net(), "input": net()["input"][:1]}
    found = compiling.run(serve.folder().parent, described, task="caches")
    assert found["devices"]["CPU"]["file"] == "compiled.cpu.zip", found
    return serve.folder() / "compiled.cpu.zip"


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_caches_that_are_of_no_use(cached: Path, serve: Serve, tmp_path: Path) -> None:
    """Made for another torch, damaged, or with nowhere to go: the model is compiled, and one line says why."""
    described = {**net(), "input": net()["input"][:1]}
    x = np.ones((2, 5, 4), np.float32)

    def warning() -> str:
        model = serve.load(described)
        assert np.array_equal(model.infer(x=x)["y"], np.full((2, 5, 3), 2, np.float32))
        (said,) = [text for text in serve.warnings() if "compiled.cpu.zip" in text]
        serve.pb.Logger.lines.clear()
        return said

    whole = cached.read_bytes()
    cached.write_bytes(whole[:-50])
    assert "compiled.cpu.zip is not used: it is cut short or damaged: " in warning()
    cached.write_bytes(whole)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "other")
    rewrite_key(cached, torch="2.12.0")
    assert "compiled.cpu.zip is not used: it is for torch 2.12.0, this is torch 2.13.0" in warning()
