"""The baseline: the same environment packed by conda-pack, and a hand-written model file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import conda_pack

from envbuilder.deployment.config import ENVIRONMENT, read_config
from envbuilder.deployment.pbtxt import remove, set_parameter, set_string
from envbuilder.deployment.versions import version_folders
from envbuilder.util.process import run

_MODEL_FILE: Final = """\
import time

_began = time.monotonic()
import locale

locale.setlocale(locale.LC_CTYPE, "C.UTF-8")  # without it torch 2.13 cannot import Inductor in a stub
import inspect
import json

import torch
import triton_python_backend_utils as pb_utils

import net.model

_imported = time.monotonic()


class TritonPythonModel:
    def initialize(self, args):
        began = time.monotonic()
        config = json.loads(args["model_config"])
        self.inputs = [one["name"] for one in config["input"]]
        self.outputs = [one["name"] for one in config["output"]]
        (served,) = [
            value
            for value in vars(net.model).values()
            if inspect.isclass(value) and issubclass(value, torch.nn.Module) and value.__module__ == "net.model"
        ]
        self.model = torch.compile(served().eval())
        loading = time.monotonic() - began
        pb_utils.Logger.log_info(
            f"baseline: ready in {_imported - _began + loading:.2f} s: {_imported - _began:.2f} s importing torch, "
            f"{loading:.2f} s loading, 0.00 s compiling and warming"
        )

    def execute(self, requests):
        responses = []
        for request in requests:
            inputs = {}
            for name in self.inputs:
                tensor = pb_utils.get_input_tensor_by_name(request, name)
                if tensor is not None:
                    inputs[name] = torch.from_numpy(tensor.as_numpy())
            with torch.no_grad():
                result = self.model(**inputs)
            if not isinstance(result, dict):
                result = {self.outputs[0]: result}
            tensors = [pb_utils.Tensor(name, result[name].numpy()) for name in self.outputs]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


def pack_baseline(archive: Path, scratch: Path, target: Path) -> None:
    """Pack the environment in *archive* with conda-pack and without bytecode into *target*.

    *scratch* is temporary.
    """
    prefix = scratch / "prefix"
    prefix.mkdir()
    run(["tar", "-xzf", str(archive), "-C", str(prefix)], env=os.environ)
    for file in prefix.rglob("*.pyc"):
        file.unlink()
    for name in ("bin/activate", "bin/activate.fish", "bin/deactivate", "share/envbuilder"):
        path = prefix / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    conda_pack.pack(prefix=str(prefix), output=str(target), verbose=False, ignore_missing_files=True)


def deploy_baseline(model: Path, archive: Path, repository: Path) -> None:
    """Put *model* into *repository*, with a file that imports torch at its top and compiles at the first
    request."""
    config = read_config(model)
    text = set_string(config.text, "backend", "python")
    text = remove(text, "default_model_filename")
    target = repository / (config.message.name or model.name)
    for version in version_folders(model):
        net = target / version.name / "net"
        net.mkdir(parents=True)
        (net / "__init__.py").touch()
        for file in version.glob("*.py"):
            shutil.copy(file, net)
        (target / version.name / "model.py").write_text(_MODEL_FILE)
    (target / "config.pbtxt").write_text(set_parameter(text, ENVIRONMENT, str(archive)))
