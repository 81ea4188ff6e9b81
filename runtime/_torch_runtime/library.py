"""Load a model without a ``model.py``: a library class in MODEL_CLASS, or a folder of Hugging Face's libraries."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import types
from typing import Any

import torch

from .errors import ModelError, describe, hint_for, in_words
from .evidence import Evidence, may_load
from .loading import Loaded, construct, give_weights
from .log import Log
from .parameters import Parameters
from .pretrained import Pretrained
from .source import PACKAGE, Files, ended, forget_other_folders
from .timm_folder import make_timm
from .weight_files import is_pretrained, is_timm


def names_library(parameters: Parameters) -> bool:
    """Return whether MODEL_CLASS names something in a library, such as ``torchvision.models:resnet50``."""
    return ":" in (parameters.model_class or "")


def load_library(files: Files, folder: str, parameters: Parameters, outputs: list[str], log: Log) -> Loaded:
    """Load what MODEL_CLASS names, or the model that *folder* describes, with the weights in *folder*.

    *outputs*, the names of the configuration's outputs, decide which of a folder's models is meant.

    Raises:
        ModelError: it is not in the environment, or its weights are not in *folder*.
    """
    wanted = parameters.model_class or ""
    log.info(
        "the network is not used, as HF_HUB_OFFLINE is set: put everything that the model needs into its version folder"
    )
    if parameters.model_function:
        raise ModelError("MODEL_FUNCTION has no effect: it names a function of a model.py, and there is none")
    forget_other_folders(folder)
    _note_folder(folder)
    evidence = Evidence()
    with evidence if may_load(folder) else contextlib.nullcontext():
        found = import_named(wanted) if wanted else None
    alone = found is None and not is_timm(folder)
    if is_pretrained(folder) and (alone or hasattr(found, "from_pretrained")):
        return Pretrained(files, folder, parameters, log).load(found, outputs)
    if isinstance(found, torch.nn.Module) and parameters.model_kwargs:
        raise ModelError(
            f"MODEL_KWARGS has no effect: {wanted} is an instance already, not a class or a function"
        )
    if found is None and not files.sets and not parameters.model_weights:
        raise ModelError(f"{folder} contains a config.json but no weights")
    with evidence:
        if found is None:
            module = make_timm(folder, parameters)
        else:
            module = found if isinstance(found, torch.nn.Module) else make(found, parameters, folder)
    return give_weights(module, files, folder, parameters, evidence, log)


def _note_folder(folder: str) -> None:
    """Make code beside the weights importable, as MODEL_CLASS may name it, and record the folder it came from.

    Before another model of this process is loaded, :func:`forget_other_folders` removes such modules: it may have
    modules of the same names.
    """
    sys.path.insert(0, folder)
    package = types.ModuleType(f"{PACKAGE}{abs(hash(folder))}")
    package.__path__ = [folder]
    sys.modules[package.__name__] = package


def import_named(wanted: str) -> Any:
    """Return what ``module:name`` names.

    Raises:
        ModelError: it is not in the environment.
    """
    name, _, attribute = wanted.partition(":")
    if not name or not attribute:
        raise ModelError(f"MODEL_CLASS must be module:name, not {wanted!r}")
    try:
        value: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).split(".")[0]
        hint = f"add {missing.replace('_', '-')} to the recipe's dependencies"
        raise ModelError(
            f"MODEL_CLASS: the environment has no module {error.name or name!r}: {hint}"
        ) from error
    except Exception as error:
        raise ModelError(
            f"MODEL_CLASS: {name} cannot be imported: {describe(error, '')}{hint_for(error)}"
        ) from error
    except SystemExit as error:
        raise ModelError(f"MODEL_CLASS: {ended(name, error)}") from error
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            raise ModelError(f"MODEL_CLASS: {name} has no {attribute!r}") from error
        except Exception as error:  # transformers imports its modules when they are asked for
            told = f"{describe(error, '')}{hint_for(error)}"
            raise ModelError(f"MODEL_CLASS: {wanted} cannot be imported: {told}") from error
    if not callable(value):
        raise ModelError(f"MODEL_CLASS: {wanted} is a {type(value).__name__}, not a class or a function")
    return value


def make(found: Any, parameters: Parameters, folder: str) -> torch.nn.Module:
    """Return the result of calling *found*, a class or a function, with MODEL_KWARGS."""
    config_class: Any = getattr(found, "config_class", None)
    if inspect.isclass(found) and config_class is not None and hasattr(found, "from_pretrained"):
        try:
            module: Any = found(config_class(**parameters.model_kwargs))  # type: ignore[call-arg]  # any class's
        except Exception as error:
            told = in_words(error, folder)
            raise ModelError(f"the constructor of {found.__name__} raised {told}") from error
        assert isinstance(module, torch.nn.Module)
        return module
    if not isinstance(getattr(found, "__name__", None), str) or hasattr(found, "from_pretrained"):
        raise ModelError(
            f"{parameters.model_class} needs a config.json in the version folder, and its weights"
        )
    return construct(found, parameters, folder)
