"""A server that is asked for a model which nobody has to load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.launch import Place
from envbuilder.verification.live.run_probe import Subject
from envbuilder.verification.server.ask import Interview
from envbuilder.verification.server.servers import Server
from tests.helpers.environments import environment, manifest

CONFIG = """
name: "m" max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""


def interview(
    folder: Path, server: Server, *, release: str = "pytriton-0.7.0", numpy: str = "1.26.4"
) -> Interview:
    """Return what *server* is asked, of a model whose every answer is 3."""
    config = text_format.Parse(CONFIG, model_config_pb2.ModelConfig())
    expected = {size: {"y": np.full((size, 2), 3, np.float32)} for size in sample.batch_sizes(config)}
    sample.save(folder / "outputs.npz", expected)
    subject = Subject(
        place=Place.make(folder / "root", isolate=False),
        deployment=None,  # type: ignore[arg-type]  # not asked
        config=config,
        version="1",
        inputs=folder / "inputs.npz",
        outputs=folder / "outputs.npz",
    )
    given = replace(manifest(environment()), release=release)
    return Interview(server=server, subject=subject, manifest=given, python="3.11", numpy=numpy)
