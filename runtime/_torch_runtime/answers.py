"""Convert what a model returns to the outputs of the configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
import triton_python_backend_utils as pb_utils

from .batching import encode
from .errors import ModelError
from .fields import FLOATS, TORCH_DTYPES, Field


def named_outputs(result: Any) -> dict[str, Any] | None:
    """Return a model's result as a mapping by name; None if it has no names."""
    if isinstance(result, dict):
        return result
    if dataclasses.is_dataclass(result):
        return {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return dict(zip(result._fields, result))
    return None


def name_outputs(result: Any, outputs: list[Field]) -> list[Any]:
    """Return the value for each of *outputs* in *result*: by name where it has names, else by position.

    Raises:
        ModelError: an output of the configuration is missing.
    """
    if isinstance(result, torch.Tensor) and len(outputs) == 1:
        return [result]
    names = [field.name for field in outputs]
    fields = named_outputs(result)
    if fields is not None:
        absent = [name for name in names if name not in fields]
        if not absent:
            return [fields[name] for name in names]
        if isinstance(result, dict):
            found = ", ".join(map(str, fields))
            raise ModelError(f"the model returned {found}; missing: {', '.join(absent)}")
        result = tuple(fields.values())
    # An output of BYTES is a list; a tuple, or any other list, contains the outputs.
    strings = isinstance(result, list) and [field.data_type for field in outputs] == ["STRING"]
    values = [result] if strings or not isinstance(result, (tuple, list)) else list(result)
    if len(values) < len(names):
        count = f"{len(values)} output{'s' if len(values) != 1 else ''}"
        wanted = f"{len(names)}: {', '.join(names)}"
        raise ModelError(f"the model returned {count}, the configuration names {wanted}")
    return values[: len(names)]


def to_send(value: Any, field: Field, batched: bool, dtype: str | None) -> Any:
    """Return an output in a form that can be sent: a contiguous tensor, or an array if DLPack lacks its type."""
    if field.data_type == "STRING":
        return encode(value, field.dims, batched)
    value = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    if value.requires_grad:
        value = value.detach()
    if not batched and value.dim() == 0 and len(field.dims) == 1:
        value = value.reshape(1)  # without batching Triton has no scalars, their dims are [ 1 ]
    if dtype is not None and value.is_floating_point() and field.data_type in FLOATS:
        value = value.to(getattr(torch, TORCH_DTYPES[field.data_type]))
    if value.dtype is torch.bool:  # NumPy 1 makes 0-dim arrays 1-dim
        return np.ascontiguousarray(value.cpu().numpy()).reshape(value.shape)
    return value.contiguous()


def as_array(value: Any) -> Any:
    """Return an output of :func:`to_send` as an array; bfloat16, which NumPy lacks, becomes float32."""
    if isinstance(value, np.ndarray):
        return value
    return (value.float() if value.dtype is torch.bfloat16 else value).cpu().numpy()


def to_triton(name: str, parts: Sequence[Any]) -> list[Any]:
    """Return the *parts* of an output of :func:`to_send` as Triton's tensors."""
    if isinstance(parts[0], np.ndarray):
        return [pb_utils.Tensor(name, part) for part in parts]
    from_dlpack = pb_utils.Tensor.from_dlpack
    to_dlpack = torch.utils.dlpack.to_dlpack  # type: ignore[attr-defined]  # public, yet not in its __all__
    if parts[0].is_cuda:  # the tensors themselves: the stub can wait for the stream that computes them
        return [from_dlpack(name, part) for part in parts]
    return [from_dlpack(name, to_dlpack(part)) for part in parts]


def check_output(value: Any, field: Field, batched: bool) -> None:
    """Compare an output with the configuration.

    Raises:
        ModelError: its dtype or its shape differs.
    """
    found = "STRING" if value.dtype == np.object_ else str(value.dtype).replace("torch.", "")
    expected = TORCH_DTYPES.get(field.data_type, field.data_type)
    dims, shape, rank = list(field.dims), list(value.shape), len(field.dims) + batched
    problem = None
    if found != expected:
        problem = f"expected {expected} (TYPE_{field.data_type} in the configuration), found {found}"
    elif len(shape) != rank:
        batch = "the batch and " if batched else ""
        problem = f"expected {rank} dimensions ({batch}dims {dims}), found {shape}"
    elif any(wanted not in (-1, size) for wanted, size in zip(dims, shape[batched:])):
        problem = f"expected dims {dims}, found {shape[batched:]}"
    if problem:
        raise ModelError(f"output {field.name!r}: {problem}")
