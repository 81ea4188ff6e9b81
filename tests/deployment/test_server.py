"""Deployments as a real server sees them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import http

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.util.files import file_sha256
from envbuilder.verification.server.cleanup import Leftovers
from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.deployment.conftest import uncompiled

pytestmark = [pytest.mark.server, pytest.mark.slow]

CONFIG = """\
backend: "python"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""
# A model in three files that must all be of one deployment.
MODEL = """\
import os

import numpy
import triton_python_backend_utils as pb_utils

from value import VALUE


class TritonPythonModel:
    def initialize(self, args):
        with open(os.path.join(pb_utils.get_model_dir(), "weights")) as file:
            weights = file.read()
        if weights != str(VALUE) * 100000 or VALUE != {value}:
            raise ValueError("half a model")

    def execute(self, requests):
        answer = numpy.array([VALUE], dtype=numpy.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", answer)]) for _ in requests]
"""


def write_model(folder: Path, value: int) -> Path:
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(MODEL.format(value=value))
    (version / "value.py").write_text(f"VALUE = {value}\n")
    (version / "weights").write_text(str(value) * 100000)
    return folder


def ask(running: RunningServer, model: str, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with http.InferenceServerClient(running.http) as client:
        request = http.InferInput("x", list(rows.shape), "FP32")
        request.set_data_from_numpy(rows)
        answer: np.ndarray[Any, Any] = client.infer(model, [request]).as_numpy("y")
        return answer


def value_of(running: RunningServer) -> int:
    return int(ask(running, "net", np.zeros(1, dtype=np.float32))[0])


def test_a_server_that_polls_never_sees_half_a_model(
    numpy_archive: Path, server: TritonServer, tmp_path: Path
) -> None:
    """Every answer is the old model's or the new one's, none fails, and the environment is extracted once."""
    model, repository, log = tmp_path / "models" / "net", tmp_path / "repository", tmp_path / "log"
    deploy(numpy_archive, write_model(model, 1), repository)
    poll = ("--model-control-mode=poll", "--repository-poll-secs=1", "--log-verbose=1")
    with server.start(repository, python="3.11", log=log, options=StartOptions(extra_args=poll)) as running:
        assert value_of(running) == 1
        for value in (2, 3, 4):
            before = deploy(numpy_archive, write_model(model, value), repository)
            assert before.changed
            deadline = time.monotonic() + 60
            while (answer := value_of(running)) != value:
                assert answer == value - 1
                assert time.monotonic() < deadline, running.last_lines()
                time.sleep(0.02)
    said = log.read_text(errors="replace")
    assert "half a model" not in said
    assert "failed to" not in said
    assert said.count("Extracting Python execution env") == 1


def test_the_server_extracts_the_tree_that_tar_extracts(
    numpy_archive: Path, server: TritonServer, tmp_path: Path
) -> None:
    repository, log = tmp_path / "repository", tmp_path / "log"
    deploy(numpy_archive, write_model(tmp_path / "models" / "net", 1), repository)
    with server.start(repository, python="3.11", log=log) as running:
        assert running.pid is not None
        leftovers = Leftovers(name="", pid=running.pid, before=set())
        leftovers.look()
        (folder,) = leftovers.extracted
        (place,) = folder.iterdir()
        whole = tmp_path / "whole"
        whole.mkdir()
        subprocess.run(["tar", "-xzf", numpy_archive, "-C", whole], check=True)
        assert tree(place) == tree(whole)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """What lies where: mode, and sha256 or link."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else "" if path.is_dir() else file_sha256(path),
        )
        for path in folder.rglob("*")
    }


def test_an_unpacked_environment(numpy_archive: Path, server: TritonServer, tmp_path: Path) -> None:
    model, repository, log = tmp_path / "models" / "net", tmp_path / "repository", tmp_path / "log"
    deploy(numpy_archive, write_model(model, 7), repository, DeployOptions(layout="shared", unpacked=True))
    with server.start(
        repository, python="3.11", log=log, options=StartOptions(extra_args=("--log-verbose=1",))
    ) as running:
        assert value_of(running) == 7
    assert "Extracting Python execution env" not in log.read_text(errors="replace")


def test_a_backend_for_two_models(cpu_archive: Path, server: TritonServer, tmp_path: Path) -> None:
    repository, log, model = tmp_path / "repository", tmp_path / "log", uncompiled(tmp_path)
    for name in ("one", "two"):
        done = deploy(cpu_archive, model, repository, DeployOptions(layout="backend", name=name))
    assert done.backend_folder is not None
    link = done.backend_folder / "pb_exec_env_model.py.tar.gz"
    assert os.readlink(link) == cpu_archive.name
    rows = np.random.default_rng(0).standard_normal((2, 128), dtype=np.float32)
    with server.start(
        repository,
        python="3.11",
        log=log,
        options=StartOptions(backends=done.backend_folder.parent, extra_args=("--log-verbose=1",)),
    ) as running:
        answers = [ask(running, name, rows) for name in ("one", "two")]
    assert answers[0].shape == (2, 16)
    assert np.allclose(answers[0], answers[1], rtol=1e-3, atol=1e-4)
    assert np.abs(answers[0]).max() > 0.01
    said = log.read_text(errors="replace")
    assert said.count("Extracting Python execution env") == 1
    assert f"{done.backend_folder.name}/{cpu_archive.name}" in said
