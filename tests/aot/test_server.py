"""A model compiled ahead of time, deployed, and asked in a real server on a machine without a compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc

from envbuilder import api
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.resources import sample_model
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers.runtime import add_helpers

pytestmark = [pytest.mark.server, pytest.mark.slow]


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


def test_deployed_precompiled(cpu_archive: Path, server: TritonServer, store: Store, tmp_path: Path) -> None:
    """The server answers from the package; deploying again compiles nothing and changes nothing."""
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

    log = tmp_path / "log"
    rows = np.random.default_rng(0).standard_normal((64, 128), dtype=np.float32)
    no_compiler = {"CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "caches")}
    with server.start(
        done.folder.parent, python="3.11", log=log, options=StartOptions(env=no_compiler)
    ) as running:
        client = grpc.InferenceServerClient(running.grpc)
        answers = []
        for size in (64, 1, 3):
            request = grpc.InferInput("x", [size, 128], "FP32")
            request.set_data_from_numpy(rows[:size])
            answers.append(client.infer("mlp", [request]).as_numpy("y"))
        client.close()
    said = log.read_text(errors="replace")
    assert "mlp: served from compiled.cpu.pt2" in said
    assert "compiled again" not in said
    assert not (tmp_path / "caches").exists()
    for answer in answers:
        assert np.allclose(answer, answers[0][: len(answer)], rtol=1e-4, atol=1e-5)
    assert np.abs(answers[0]).max() > 0.01
