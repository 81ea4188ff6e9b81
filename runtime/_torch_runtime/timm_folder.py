"""Construct the model that a folder written by timm's ``save_for_hf`` describes."""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch

from .errors import ModelError, describe, hint_for
from .parameters import Parameters
from .weight_files import CONFIG, read_json


def make_timm(folder: str, parameters: Parameters) -> torch.nn.Module:
    """Return the model that the ``config.json`` in *folder* describes, without its weights.

    MODEL_KWARGS takes precedence over the file. timm's ``local-dir:`` scheme is not used: only timm 1.0.16 and later
    has it, and it also loads the weights.

    Raises:
        ModelError: timm is not in the environment, or cannot construct the model.
    """
    config: Any = read_json(os.path.join(folder, CONFIG))
    name = config["architecture"]
    try:
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        missing = (error.name or "timm").split(".")[0]
        raise ModelError(
            f"the version folder is a model of timm, and the environment has no module {error.name!r}: "
            f"add {missing.replace('_', '-')} to the recipe's dependencies"
        ) from error
    except Exception as error:
        raise ModelError(f"timm cannot be imported: {describe(error, '')}{hint_for(error)}") from error
    try:
        module: torch.nn.Module = timm.create_model(name, **{**arguments(config), **parameters.model_kwargs})
    except Exception as error:
        told = " ".join(describe(error, "").split())
        raise ModelError(f"timm {timm.__version__} cannot make the {name} of config.json: {told}") from error
    return module


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of ``timm.create_model`` for a *config* that timm wrote."""
    trained = config.get("pretrained_cfg", config)
    trained = trained if isinstance(trained, dict) else {}
    size = trained.get("input_size")
    found = {name: config.get(name, trained.get(name)) for name in ("num_classes", "global_pool")}
    if isinstance(size, list) and len(size) == 3:
        found["in_chans"] = size[0]
        if trained.get("fixed_input_size"):
            found["img_size"] = size[1:]
    given = config.get("model_args")  # written by timm 1 and later
    found.update(given if isinstance(given, dict) else {})
    return {name: value for name, value in found.items() if value is not None}
