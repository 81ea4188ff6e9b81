"""A model repository of every kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.helpers.workspace import CONFIG, MODEL

TENSORS = """\
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
OWN = """\
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb.InferenceResponse([pb.Tensor("y", (x + {number}).astype(np.float32))]))
        return answers
"""
BLS = """\
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x")
            asked = pb.InferenceRequest(model_name="own0", requested_output_names=["y"], inputs=[x]).exec()
            answers.append(pb.InferenceResponse([pb.get_output_tensor_by_name(asked, "y")]))
        return answers
"""
ENSEMBLE = """\
platform: "ensemble"
ensemble_scheduling {{
  step [ {{ model_name: "{step}" model_version: -1 input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "y" }} }} ]
}}
"""  # noqa: E501


def write_model(repository: Path, name: str, config: str, **files: str) -> Path:
    """Write one model's folder; of *files* the key is the stem of a file in version 1."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    for stem, text in files.items():
        (folder / "1" / f"{stem}.py").write_text(text)
    return folder


def write_own(repository: Path, name: str, number: int = 0) -> Path:
    """Write a model that brings its own ``TritonPythonModel``: it adds *number*."""
    return write_model(repository, name, f'backend: "python"\n{TENSORS}', model=OWN.format(number=number))


def make_repository(repository: Path, counts: Sequence[int] = (1, 1, 1, 1, 1, 1)) -> dict[str, list[str]]:
    """Write models of each kind: own, runtime, BLS, ensemble, ONNX, with a broken configuration; return their names."""
    kinds = ("own", "runtime", "bls", "ensemble", "onnx", "broken")
    names = {
        kind: [f"{kind}{number}" for number in range(count)]
        for kind, count in zip(kinds, counts, strict=True)
    }
    for number, name in enumerate(names["own"]):
        write_own(repository, name, number)
    for name in names["runtime"]:
        write_model(repository, name, CONFIG, model=MODEL)
    for name in names["bls"]:
        write_model(repository, name, f'backend: "python"\n{TENSORS}', model=BLS)
    for name in names["ensemble"]:
        write_model(repository, name, TENSORS + ENSEMBLE.format(step=names["own"][0]))
    for name in names["onnx"]:
        write_model(repository, name, 'platform: "onnxruntime_onnx"\n' + TENSORS)
        (repository / name / "1" / "model.onnx").write_bytes(b"onnx")
    for name in names["broken"]:
        write_model(repository, name, 'backend: "python"\ninput [ { name: "x" \n', model=OWN)
    return names
