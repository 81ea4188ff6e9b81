"""The short way from requests to responses, for inputs and outputs that are numbers in this machine's memory.

What a small model costs beside its arithmetic is steps of Python and of torch's dispatcher, each with caches that other
processes have emptied meanwhile. Here are as few as it takes: NumPy views of what the server sent, joined by NumPy, one
tensor for a call, and a view of its results for each response. They leave by DLPack, which takes a stub two thirds of
the time of an array. The capsules are torch's: NumPy's end a stub before 24.11, which gives them a name that NumPy does
not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
import triton_python_backend_utils as pb_utils

from .answers import to_send
from .errors import ModelError
from .loaded import LoadedModel

TYPES = frozenset(("INT8", "INT16", "INT32", "INT64", "UINT8", "FP16", "FP32", "FP64"))
"""Data types of which every release of torch and of NumPy shares the memory."""


class Direct:
    """Answers plain requests."""

    def __init__(self, model: LoadedModel) -> None:
        """Note what :meth:`answer` needs of *model*, one that :func:`is_plain`."""
        self._inputs, self._outputs = [field.name for field in model.inputs], model.outputs
        # Looked up once: each of them is needed for each request.
        self._get, self._response = pb_utils.get_input_tensor_by_name, pb_utils.InferenceResponse
        self._from_dlpack = pb_utils.Tensor.from_dlpack
        self._to_dlpack = torch.utils.dlpack.to_dlpack  # type: ignore[attr-defined]  # public, not in its __all__

    def answer(
        self, requests: Sequence[Any], run: Callable[[list[Any]], list[Any] | None]
    ) -> tuple[list[Any], int] | None:
        """Answer all *requests* by one call of *run*: tensors in, outputs out, each in the configuration's order.

        Returns: the responses, and how many rows they have. None: a request lacks an input, they cannot be joined,
            have no rows, or *run* returns None.

        Raises:
            Exception: of any kind, where *run* fails or its outputs are no batch of the same rows.
        """
        get, names, counts = self._get, self._inputs, []
        try:
            if len(requests) == 1:
                request = requests[0]
                tensors = [torch.from_numpy(get(request, name).as_numpy()) for name in names]
                rows = len(tensors[0])
            else:
                columns = [[get(request, name).as_numpy() for request in requests] for name in names]
                counts = list(map(len, columns[0]))
                rows = sum(counts)
                tensors = [torch.from_numpy(np.concatenate(column)) for column in columns]
        except Exception:
            return None
        results = run(tensors) if rows else None
        if results is None:
            return None
        from_dlpack, to_dlpack, outputs = self._from_dlpack, self._to_dlpack, []
        for value, field in zip(results, self._outputs):
            if type(value) is torch.Tensor and not value.requires_grad:
                value = value.contiguous()
            else:
                value = to_send(value, field, batched=True, dtype=None)
            name = field.name
            check_rows(value, name, rows)
            # "Unsafe" for who changes the parts: they are only read. Views that autograd knows take a quarter longer.
            parts = value.unsafe_split_with_sizes(counts) if counts else (value,)
            outputs.append([from_dlpack(name, to_dlpack(part)) for part in parts])
        if not counts:
            return [self._response([tensor for (tensor,) in outputs])], rows
        return [self._response(list(tensors)) for tensors in zip(*outputs)], rows


def check_rows(value: Any, name: str, rows: int) -> None:
    """Compare an output called *name* with the *rows* of the batch.

    Raises:
        ModelError: it has others.
    """
    if value.shape[0] != rows:
        raise ModelError(f"output {name!r} has {value.shape[0]} rows for a batch of {rows}")


def is_plain(model: LoadedModel) -> bool:
    """Say whether all inputs and outputs of *model* are batches of numbers in this machine's memory, as they are."""
    if not model.batched or not model.on_cpu or model.parameters.dtype or not model.inputs:
        return False
    inputs = all(field.data_type in TYPES and not field.optional for field in model.inputs)
    return inputs and all(field.data_type in TYPES for field in model.outputs) and _arrays_are_right()


def _arrays_are_right() -> bool:
    """Say whether the stub's arrays hold what they should: with NumPy 2, those of stubs before 24.11 do not."""
    expected = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    try:
        capsule = torch.utils.dlpack.to_dlpack(expected)  # type: ignore[attr-defined]  # public, not in its __all__
        found = torch.from_numpy(pb_utils.Tensor.from_dlpack("probe", capsule).as_numpy())
        return torch.equal(found, expected)
    except Exception:  # torch may have been built for another NumPy
        return False
