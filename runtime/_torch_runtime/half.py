"""The float32 reference for a model in half precision, by which rounding errors are measured."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from .answers import as_array, name_outputs

if TYPE_CHECKING:
    from .loaded import LoadedModel

_HALF = (torch.float16, torch.bfloat16)


def half_as_float32(model: LoadedModel, values: list[Any]) -> dict[str, Any] | None:
    """Return the outputs for *values* as arrays by name, computed in float32.

    None: no weights are in half precision.
    """
    module = model.eager
    if not isinstance(module, torch.nn.Module):
        return None
    if not any(tensor.dtype in _HALF for tensor in module.parameters()):
        return None
    wide = copy.deepcopy(module).float()
    tensors = [
        one.float() if isinstance(one, torch.Tensor) and one.dtype in _HALF else one
        for one in model.tensors(values)
    ]
    results = name_outputs(model.result(wide, tensors), model.outputs)
    return {field.name: as_array(torch.as_tensor(value)) for field, value in zip(model.outputs, results)}
