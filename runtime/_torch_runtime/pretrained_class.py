"""Determine the class of transformers that a folder's ``config.json`` or MODEL_CLASS names."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from .errors import ModelError


def named_class(transformers: Any, config: Any, *, trusts: bool) -> Any:
    """Return the class that *config* names, the first of several that exists; without any, ``AutoModel``.

    *trusts*: code next to the configuration may run.

    Raises:
        ModelError: *transformers* has none of these, or they are not models.
    """
    architectures = _names(getattr(config, "architectures", None))
    remote = getattr(config, "auto_map", None) or {}
    if remote and trusts:
        name = next((one for one in remote if one.startswith("AutoModel")), "AutoModel")
        return getattr(transformers, name)
    there = [name for name in architectures if hasattr(transformers, name)]
    for name in there:
        found = getattr(transformers, name)
        if makes_models(found):
            return found
    if there:
        raise ModelError(f"config.json names {there[0]} in architectures, which is not a class of models")
    if architectures and remote:
        raise ModelError(
            f"config.json names {architectures[0]}, whose code is in its own repository, which is not run: "
            'TRUST_REMOTE_CODE: "true" runs the code in the version folder'
        )
    if architectures:
        version = transformers.__version__
        raise ModelError(f"config.json names {architectures[0]}, which transformers {version} has not")
    return transformers.AutoModel


def makes_models(found: Any) -> bool:
    """Return whether *found* is a class of models, or an ``AutoModel…``, and no configuration or tokenizer."""
    is_auto = hasattr(found, "_model_mapping")
    return inspect.isclass(found) and (is_auto or issubclass(found, torch.nn.Module))


def without_pooler(found: Any, config: Any, missing: list[str]) -> bool:
    """Return whether all *missing* weights are of a pooler, which the class can be told to leave out."""
    if not missing or not all("pooler" in key.split(".") for key in missing):
        return False
    try:  # an AutoModel…: its mapping imports the class
        made: Any = found._model_mapping[type(config)] if hasattr(found, "_model_mapping") else found  # noqa: SLF001
        return "add_pooling_layer" in inspect.signature(made.__init__).parameters
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _names(said: Any) -> list[str]:
    names = [said] if isinstance(said, str) else said or []
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) for one in names):
        raise ModelError(f"config.json: architectures must be a list of names of classes, not {said!r}")
    return list(names)
