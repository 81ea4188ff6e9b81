"""What Triton's stub does with a model, done in this process: import its file, initialize it, ask it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _torch_runtime.engine import Engine

BFLOAT16 = 14
"""Its number in Triton's enumeration."""
COMPILE = "TORCH_COMPILE_OPTIONAL_PARAMETERS"


class Host:
    """One version of one model, as a *job* names it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.config: dict[str, Any] = job["config"]
        self.max_batch = int(self.config.get("max_batch_size", 0))
        self.folder = os.path.join(job["model"], job["version"])
        self.path = os.path.join(self.folder, job["file"])
        """The file that Triton imports."""
        self.compile_options: dict[str, Any] = json.loads(
            (self.config.get("parameters") or {}).get(COMPILE, {}).get("string_value") or "{}"
        )
        inputs = self.config.get("input") or []
        self.half_inputs = {one["name"] for one in inputs if one["data_type"] == "TYPE_BF16"}

    def import_file(self) -> Any:
        """Import the model's file as the stub does; the runtime then prepares the process."""
        name = os.path.splitext(os.path.basename(self.path))[0]
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        if hasattr(module, "runtime_module"):
            module.runtime_module("process").prepare_process(1)
        return module

    def load(self, kind: str, options: dict[str, Any]) -> Any:
        """Initialize the model on a device of *kind*, ``CPU`` or ``GPU``, with *options* for torch.compile."""
        import triton_python_backend_utils as pb_utils

        parameters = dict(self.config.get("parameters") or {})
        parameters[COMPILE] = {"string_value": json.dumps(options)}
        group = [{"count": 1, "kind": f"KIND_{kind}", **({"gpus": [0]} if kind == "GPU" else {})}]
        return pb_utils.Model(
            self.path,
            self.job["model"],
            {**self.config, "parameters": parameters, "instance_group": group},
            name=self.config["name"],
            version=self.job["version"],
            kind=kind,
        )

    def engine(self, model: Any) -> Engine:
        """Return what the runtime lets tools use of a *model* that it serves."""
        engine: Engine = model.instance.engine
        return engine

    def ask(self, model: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to *requests*, sent together: arrays by name.

        Raises:
            RuntimeError: one of them is an error.
        """
        import triton_python_backend_utils as pb_utils

        made = [
            pb_utils.InferenceRequest([self._tensor(name, array) for name, array in request.items()])
            for request in requests
        ]
        answers = []
        for response in model.execute(made):
            if response.has_error():
                raise RuntimeError(response.error().message())
            answers.append({tensor.name(): _as_array(tensor) for tensor in response.output_tensors()})
        return answers

    def _tensor(self, name: str, array: Any) -> Any:
        """Return an input as Triton hands it over."""
        import triton_python_backend_utils as pb_utils

        if name in self.half_inputs:
            import torch

            return pb_utils.Tensor.from_dlpack(name, torch.from_numpy(array).bfloat16())
        return pb_utils.Tensor(name, array)


def words(error: BaseException) -> str:
    """Return an error in a line or a few, its cause last."""
    name = type(error).__name__
    return (str(error) if name == "TritonModelException" else f"{name}: {error}")[:2000]


def _as_array(tensor: Any) -> Any:
    """Return a Triton tensor as an array that NumPy can compare, wherever it lies."""
    if tensor.is_cpu() and tensor.triton_dtype() != BFLOAT16:
        return tensor.as_numpy()
    from torch.utils.dlpack import from_dlpack

    value = from_dlpack(tensor.to_dlpack()).cpu()
    return value.float().numpy() if tensor.triton_dtype() == BFLOAT16 else value.numpy()
