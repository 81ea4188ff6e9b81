"""A server that is asked for a model which nobody has to load."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.config import RUNTIME_FILE
from envbuilder.guest.answers import as_saved
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.inputs import Questions
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.server.ask import ServerChecks
from envbuilder.verification.server.served_model import ServedModel
from envbuilder.verification.server.servers import Server
from envbuilder.verification.server.tritonserver import RunningServer, TritonServer
from tests.helpers.environments import environment, manifest

CONFIG = """
name: "m" max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""

_COMPILED: dict[str, Any] = {"own": False, "compiled": True, "varying": [], "empty": []}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet(TritonServer):
    """A server that is ready at once."""

    @contextlib.contextmanager
    def start(self, *_: Any, log: Path, **__: Any) -> Iterator[RunningServer]:
        log.write_text("I0101 said\n")
        yield RunningServer(http="", grpc="", log=log, version="2.51.0")


def checks_of_server(
    folder: Path,
    server: Server,
    *,
    release: str = "pytriton-0.7.0",
    numpy: str = "1.26.4",
    own: bool = False,
    probed: dict[str, Any] | None = _COMPILED,
    questions: Questions | None = None,
) -> ServerChecks:
    """Return what *server* is asked, of a model whose every answer is 3; *own*: of a TritonPythonModel."""
    config = text_format.Parse(CONFIG, model_config_pb2.ModelConfig())
    config.default_model_filename = "model.py" if own else RUNTIME_FILE
    if own:
        config.dynamic_batching.SetInParent()
    deployed = DeployedModel(
        sandbox=Sandbox.make(folder / "root", isolate=False),
        deployment=None,
        folder=folder / "root" / "models" / "m",
        config=config,
        version="1",
        questions=questions or sample.made_up(config),
    )
    if probed is not None:
        answers = {
            case.label: [{"y": np.full((len(case.inputs["x"]), 2), 3, np.float32)}]
            for case in deployed.questions.cases
        }
        np.savez(deployed.outputs, **as_saved(answers))
    return ServerChecks(
        server=server,
        models=[deployed],
        subjects=lambda: [ServedModel(deployed=deployed, probed=probed, numpy=numpy)],
        manifest=replace(manifest(environment()), release=release),
        python="3.11",
    )
