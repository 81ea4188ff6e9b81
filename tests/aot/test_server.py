"""Models compiled ahead of time, deployed, and asked in a real server on a machine without a compiler."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

from envbuilder import api
from envbuilder.bench.compilers import CompilerCount
from envbuilder.cli import cli
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.resources import sample_model
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.compiling import DEPENDS_ON_DATA
from tests.helpers.runtime import add_helpers

pytestmark = [pytest.mark.server, pytest.mark.slow]
CONFIG = """\
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""


def deployed(archive: Path, folder: Path, store: Store) -> Deployment:
    model = folder / "models" / "mlp"
    if not model.exists():
        shutil.copytree(sample_model(), model)
        source = model / "1" / "model.py"
        source.write_text(source.read_text() + add_helpers(model / "1"))
    done = api.deploy(
        archive,
        model,
        folder / "repository",
        DeployOptions(layout="shared", unpacked=True),
        precompile=True,
        session=Session.open(store=store),
    )
    assert isinstance(done, Deployment)
    return done


def test_deployed_precompiled(
    cpu_archive: Path, server: TritonServer, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server answers from the package, and with Inductor's caches where there can be none; it runs no compiler.

    Deploying again compiles nothing and changes nothing.
    """
    done = deployed(cpu_archive, tmp_path, store)
    (compiled,) = done.compiled
    package = done.folder / "1" / "compiled.cpu.pt2"
    assert (compiled.version, compiled.device, compiled.file) == ("1", "CPU", package)
    assert compiled.reason is None
    assert not compiled.kept
    assert compiled.difference is not None
    assert compiled.difference < 1e-5
    before = package.stat()

    again = deployed(cpu_archive, tmp_path, store)
    assert not again.changed
    assert again.compiled[0].kept
    assert (package.stat().st_ino, package.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    assert "data-dependent" in compile_unexportable(cpu_archive, tmp_path, capsys)

    log, compilers = tmp_path / "log", CompilerCount(tmp_path / "compilers")
    rows = np.random.default_rng(0).standard_normal((64, 128), dtype=np.float32)
    env = {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "caches"),
        "PATH": f"{compilers.folder}:/usr/local/bin:/usr/bin:/bin",
    }
    with (
        server.start(
            done.folder.parent, python="3.11", log=log, options=StartOptions(env=env, ready_timeout=600)
        ) as running,
        grpc.InferenceServerClient(running.grpc) as client,
    ):
        answers = [ask(client, "mlp", rows[:size]) for size in (64, 1, 3)]
        assert np.array_equal(ask(client, "net", np.ones((2, 5, 4), np.float32)), np.full((2, 5, 3), 2))
    said = log.read_text(errors="replace")
    assert "mlp: served from compiled.cpu.pt2" in said
    assert "compiled again" not in said
    assert compilers.runs() == []
    for answer in answers:
        assert np.allclose(answer, answers[0][: len(answer)], rtol=1e-4, atol=1e-5)
    assert np.abs(answers[0]).max() > 0.01


def compile_unexportable(archive: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Deploy a model that cannot be exported beside the other, compile it, and return what is said."""
    model = folder / "models" / "net"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(DEPENDS_ON_DATA)
    options = DeployOptions(layout="shared", unpacked=True)
    placed = deploy(archive, model, folder / "repository", options).folder
    cli.main(["compile", str(placed), "-q"], standalone_mode=False)
    said = capsys.readouterr().out
    assert said.startswith("net: no package (version 1, CPU): torch.export: ")
    assert said.endswith("; with Inductor's caches: compiled.cpu.zip\n")
    assert (placed / "1" / "compiled.cpu.zip").exists()
    return said


def ask(client: grpc.InferenceServerClient, model: str, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    request = grpc.InferInput("x", list(rows.shape), "FP32")
    request.set_data_from_numpy(rows)
    answer: np.ndarray[Any, Any] = client.infer(model, [request]).as_numpy("y")
    return answer
