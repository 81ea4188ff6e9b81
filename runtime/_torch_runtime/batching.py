"""Combine requests into the arguments of one call, and split its results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
import triton_python_backend_utils as pb_utils

from .aoti import AOTInductorModel
from .errors import ModelError
from .fields import Field


class Arguments:
    """How the inputs of the configuration become the arguments of a call."""

    def __init__(self, target: Callable[..., Any], inputs: list[Field]) -> None:
        self._names = [field.name for field in inputs]
        defaults = argument_defaults(target)
        self.by_name = bool(defaults) and all(name in defaults for name in self._names)
        self._defaults = list(defaults.values())
        self._order: list[int] = []
        if self.by_name and type(target).__name__ == "GraphModule" and len(self._names) == len(defaults):
            # An exported program takes its arguments as it was given them when it was exported: by position.
            self.by_name = False
            self._order = [self._names.index(name) for name in defaults]
        elif isinstance(target, AOTInductorModel):
            self._order = target.order(self._names)
        elif not self.by_name:
            self._check_places(list(defaults))

    def _check_places(self, arguments: list[str]) -> None:
        """Refuse positional inputs if one of them has the name of an argument at another position."""
        for place, name in enumerate(self._names):
            if name in arguments and arguments.index(name) != place:
                raise ModelError(
                    f"the configuration's inputs are {', '.join(self._names)}, the model takes {', '.join(arguments)}: "
                    f"{name!r} would go to another argument; give all inputs the names of arguments, or none"
                )

    def arrange(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments for *values*, None where an optional input is absent."""
        if self.by_name:
            return [], {name: value for name, value in zip(self._names, values) if value is not None}
        values = [values[index] for index in self._order] if self._order else list(values)
        while values and values[-1] is None:
            values.pop()
        for index, value in enumerate(values):
            if value is None:
                values[index] = self._default(index)
        return values, {}

    def _default(self, index: int) -> Any:
        if index < len(self._defaults) and self._defaults[index] is not inspect.Parameter.empty:
            return self._defaults[index]
        raise ModelError(f"input {self._names[index]!r} is absent and the model has no default for it")


def argument_defaults(target: Any) -> dict[str, Any]:
    """Return the parameters of a model's forward or a function, with their defaults or ``Parameter.empty``."""
    if isinstance(target, torch.jit.ScriptModule):
        forward: Any = target.forward
        arguments = forward.schema.arguments[1:]
        empty = inspect.Parameter.empty
        return {a.name: a.default_value if a.has_default_value() else empty for a in arguments}
    function = target.forward if isinstance(target, torch.nn.Module) else target
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in variadic}


def read_column(requests: list[Any], field: Field) -> list[Any]:
    """Return one input of all *requests*, without a copy: tensors, or arrays where DLPack has no such type.

    Raises:
        AttributeError: a request lacks it.
    """
    get, name = pb_utils.get_input_tensor_by_name, field.name
    if field.data_type in ("STRING", "BOOL"):
        tensors = [get(request, name) for request in requests]
        return [
            t.as_numpy() if t.is_cpu() else torch.utils.dlpack.from_dlpack(t.to_dlpack()) for t in tensors
        ]
    from_dlpack = torch.utils.dlpack.from_dlpack
    return [from_dlpack(get(request, name).to_dlpack()) for request in requests]


def read_request(request: Any, inputs: list[Field]) -> list[Any]:
    """Return the inputs of one *request*; None for absent optional ones.

    Raises:
        ModelError: a required one is absent.
    """
    values: list[Any] = []
    for field in inputs:
        if pb_utils.get_input_tensor_by_name(request, field.name) is not None:
            values += read_column([request], field)
        elif field.optional:
            values.append(None)
        else:
            raise ModelError(f"the input {field.name!r} is missing")
    return values


def group_key(values: list[Any]) -> tuple[Any, ...]:
    """Return the key by which requests can be concatenated: all dims but the first."""
    return tuple([None if value is None else value.shape[1:] for value in values])


def concatenate(column: Sequence[Any]) -> Any:
    """Concatenate an input of several requests."""
    if len(column) == 1 or column[0] is None:
        return column[0]
    return np.concatenate(column) if isinstance(column[0], np.ndarray) else torch.cat(tuple(column))


def split(value: Any, counts: list[int]) -> Any:
    """Undo :func:`concatenate`: split *value* into parts of *counts* rows."""
    if len(counts) == 1:
        return [value]
    if isinstance(value, np.ndarray):
        return np.split(value, np.cumsum(counts)[:-1])
    return torch.split_with_sizes(value, counts)


def decode(array: Any, flat: bool) -> Any:
    """Return BYTES as (nested, unless *flat*) lists of strings; what is not UTF-8 survives the way back."""
    texts = [item.decode("utf-8", "surrogateescape") for item in array.reshape(-1)]
    return texts if flat else np.array(texts, dtype=object).reshape(array.shape).tolist()


def encode(texts: Any, dims: tuple[int, ...], batched: bool) -> Any:
    """Return (nested lists of) strings or bytes as the array of bytes objects that Triton sends."""
    array = np.array(texts, dtype=object)
    flat = [t.encode("utf-8", "surrogateescape") if isinstance(t, str) else t for t in array.reshape(-1)]
    shape = array.shape
    if batched and len(shape) == 1 and dims == (1,):
        shape = (*shape, 1)
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(shape)
