"""Configurations as Triton gives them to a model, in few words."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from envbuilder import guest
from envbuilder.deployment.runtime_files import runtime_files
from envbuilder.util.resources import runtime_package

RUNTIME = Path(__file__).parents[2] / "runtime" / "model.py"
MODELS = Path(__file__).parents[1] / "models"
SEED = "TORCH_COMPILE_OPTIONAL_PARAMETERS"
UNCOMPILED = {SEED: '{"disable": true}'}


def copy_runtime(folder: Path, name: str = "torch_runtime.py") -> None:
    """Put the runtime into *folder*, where Triton loads the file *name*."""
    for path, file in runtime_files(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / path)


_MODULES = {path.stem for path in [*Path(guest.__file__).parent.glob("*.py"), *runtime_package().values()]}
_ONCE = {"trial", "description", "inside", "probe", "compile", "describe", "stub", "standin"}
_OTHERS = {"answer", "guest", "runtime", "utils", "_config", "_hosted"}
NAMES = sorted((_MODULES | _ONCE | _OTHERS) - {"__init__", "__main__"})
"""Names that our modules and folders have or had, and common ones: a model may have modules of these names, too."""


def add_helpers(version: Path) -> str:
    """Write a module of each of these names into a version folder; return source that imports and checks them."""
    for name in NAMES:
        (version / f"{name}.py").write_text(f"NAME = {name!r}\n")
    names = ", ".join(f"{name}.NAME" for name in NAMES)
    imports = "".join(f"import {name}\n" for name in NAMES)
    return f"{imports}assert [{names}] == {NAMES!r}\n"


def load_runtime(path: Path = RUNTIME) -> Any:
    """Import the runtime's file as a stub does, in front of the stand-in for Triton's module."""
    spec = importlib.util.spec_from_file_location("_runtime_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def field(name: str, kind: str, dims: list[int], **rest: Any) -> dict[str, Any]:
    """Describe one input or output; *kind* is FP32 and the like."""
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": dims, **rest}


def config(
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    *,
    max_batch_size: int = 0,
    parameters: dict[str, str] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Describe a model."""
    return {
        "max_batch_size": max_batch_size,
        "input": inputs,
        "output": outputs,
        "parameters": {key: {"string_value": value} for key, value in (parameters or {}).items()},
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
        "default_model_filename": "torch_runtime.py",
        **rest,
    }


def simple(max_batch_size: int = 8, /, **parameters: str) -> dict[str, Any]:
    """Describe a model from ``x`` (4 floats) to ``y`` (3 floats)."""
    return config(
        [field("x", "FP32", [4])],
        [field("y", "FP32", [3])],
        max_batch_size=max_batch_size,
        parameters={**UNCOMPILED, **parameters},
    )


def compiled(**options: Any) -> dict[str, Any]:
    """Return the same, compiled by a backend that needs no compiler."""
    return simple(**{SEED: json.dumps({"backend": "aot_eager", **options})})


def graphs() -> int:
    """Return how many graphs Dynamo has made in this process."""
    import torch

    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


LINEAR = """
import torch

class Net(torch.nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3, bias=bias)

    def forward(self, x):
        return self.linear(x)
"""


def sample(name: str) -> dict[str, Any]:
    """Return the configuration of the sample model *name* as the server would give it."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    text = (MODELS / name / "config.pbtxt").read_text()
    message = text_format.Parse(text, model_config_pb2.ModelConfig())
    described: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return described
