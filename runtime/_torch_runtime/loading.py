"""From the files of a version folder to something that can be called."""

from __future__ import annotations

import inspect
import os
import re
from typing import Any

import torch

from .errors import ModelError, describe
from .parameters import Parameters
from .source import Files, find_model, import_source, kind_of
from .weights import load_state


def load(files: Files, package: str, parameters: Parameters, device: torch.device | None) -> Any:
    """Load what *files* hold onto *device* (None: where the model puts itself), ready to be called."""
    if files.source is None:
        return load_saved(str(files.exported or files.weights), device)
    found, weights = find_model(import_source(files.source, package), parameters), files.weights
    if not inspect.isclass(found):
        if weights:
            file, function = os.path.basename(weights), getattr(found, "__name__", "the function")
            raise ModelError(f"{file} has nowhere to go: {function} is a function, not an nn.Module")
        return found
    try:
        module = found(**parameters.model_kwargs)
    except Exception as error:
        where = describe(error, os.path.dirname(files.source))
        raise ModelError(f"the constructor of {found.__name__} raised {where}") from error
    assert isinstance(module, torch.nn.Module)
    if weights:
        kind = kind_of(weights)
        if kind != "state_dict":
            file = os.path.basename(weights)
            raise ModelError(f"{file} beside model.py must hold a state_dict, it holds {kind}")
        load_state(module, weights)
    return module


def load_saved(path: str, device: torch.device | None) -> Any:
    """Load a file that is a model by itself."""
    name, kind, version = os.path.basename(path), kind_of(path), torch.__version__
    if kind == "state_dict":
        hint = "put the model.py that defines it beside them"
        raise ModelError(f"{name} holds weights without a model: {hint}")
    try:
        if kind == "torchscript":
            return torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # torch's
        if kind == "aotinductor":
            return torch._inductor.aoti_load_package(path)
        return torch.export.load(path).module()
    except Exception as error:
        newer = re.search(r"version (\d+), but the maximum .* version for reading is (\d+)", str(error))
        if newer:
            both = f"its format is {newer[1]}, torch {version} reads up to {newer[2]}"
            raise ModelError(f"{name} was written by a newer torch: {both}") from error
        raise ModelError(f"torch {version} cannot load {name} ({kind}): {describe(error, '')}") from error


def pick_device(kind: str, device_id: str, module: Any) -> torch.device:
    """Return the device of an instance; for KIND_MODEL where *module* put itself, or the first there is."""
    if kind == "GPU":
        return torch.device("cuda", int(device_id))
    if kind == "CPU":
        return torch.device("cpu")
    if isinstance(module, torch.nn.Module):
        for tensor in [*module.parameters(), *module.buffers()]:
            return tensor.device
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
