"""The fast path from requests to responses, for batches of numeric tensors in host memory.

The overhead of a small model is Python code and torch's dispatcher, with cold caches on a busy machine. So this path
takes as few steps as possible: NumPy views of the inputs are concatenated by NumPy, each input becomes one tensor per
call, and each response gets a view of the outputs. Outputs are passed as DLPack capsules, which takes the stub two
thirds of the time that arrays take. torch creates the capsules: those of NumPy crash a stub before 24.11, which renames
them to a name that NumPy does not recognize.
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
"""Data types that every release of torch and NumPy exchanges without a copy."""


class Direct:
    """Answers requests on the fast path."""

    def __init__(self, model: LoadedModel) -> None:
        """Prepare :meth:`answer` for *model*, which must satisfy :func:`is_plain`."""
        self._inputs, self._outputs = [field.name for field in model.inputs], model.outputs
        # Looked up once, as every request needs them.
        self._get, self._response = pb_utils.get_input_tensor_by_name, pb_utils.InferenceResponse
        self._from_dlpack = pb_utils.Tensor.from_dlpack
        self._to_dlpack = torch.utils.dlpack.to_dlpack  # type: ignore[attr-defined]  # public, not in its __all__

    def answer(
        self, requests: Sequence[Any], run: Callable[[list[Any]], list[Any] | None]
    ) -> tuple[list[Any], int] | None:
        """Answer all *requests* with one call of *run*, which maps input tensors to outputs in configured order.

        Returns:
            The responses and their total number of rows; None if a request lacks an input, the inputs cannot be
            concatenated or have no rows, or *run* returns None.

        Raises:
            Exception: of any type, if *run* fails or an output has another number of rows than the inputs.
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
            # Unsafe only if the parts are modified, and they are not; views tracked by autograd take a quarter longer.
            parts = value.unsafe_split_with_sizes(counts) if counts else (value,)
            outputs.append([from_dlpack(name, to_dlpack(part)) for part in parts])
        if not counts:
            return [self._response([tensor for (tensor,) in outputs])], rows
        return [self._response(list(tensors)) for tensors in zip(*outputs)], rows


def check_rows(value: Any, name: str, rows: int) -> None:
    """Check that the output *name* has as many *rows* as the batch.

    Raises:
        ModelError: it has another number of rows.
    """
    if value.shape[0] != rows:
        raise ModelError(f"output {name!r} has {value.shape[0]} rows for a batch of {rows}")


def is_plain(model: LoadedModel) -> bool:
    """Return whether all inputs and outputs of *model* are numeric batches in host memory that need no conversion."""
    if not model.batched or not model.on_cpu or model.parameters.dtype or not model.inputs:
        return False
    inputs = all(field.data_type in TYPES and not field.optional for field in model.inputs)
    return inputs and all(field.data_type in TYPES for field in model.outputs) and _arrays_are_right()


def _arrays_are_right() -> bool:
    """Return whether the stub's arrays have the right content: with NumPy 2, those of stubs before 24.11 do not."""
    expected = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    try:
        capsule = torch.utils.dlpack.to_dlpack(expected)  # type: ignore[attr-defined]  # public, not in its __all__
        found = torch.from_numpy(pb_utils.Tensor.from_dlpack("probe", capsule).as_numpy())
        return torch.equal(found, expected)
    except Exception:  # torch may have been built for another NumPy
        return False
