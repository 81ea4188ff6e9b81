"""What a verified model is asked: inputs made from its configuration, the same on every machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

Inputs = dict[str, np.ndarray[Any, Any]]
_SIZES: Final = (1, 2, 3, 5, 8, 13, 21, 32, 64, 128)
"""Batch sizes of a sweep, up to ``max_batch_size``, which is swept too."""


def batch_sizes(config: model_config_pb2.ModelConfig) -> list[int]:
    """Return the batch sizes to ask *config*'s model for; ``[1]`` where it takes no batches."""
    most = int(config.max_batch_size)
    return sorted({size for size in _SIZES if size < most} | {most}) if most > 0 else [1]


def make_inputs(config: model_config_pb2.ModelConfig, size: int) -> Inputs:
    """Return an input for each of *config*'s inputs, *size* rows where it takes batches."""
    random = np.random.default_rng(size)
    inputs = {}
    for field in config.input:
        dims = [36 + 8 * axis if dim == -1 else int(dim) for axis, dim in enumerate(field.dims)]
        shape = [size, *dims] if config.max_batch_size > 0 else dims
        inputs[field.name] = _values(random, data_type(field), shape)
    return inputs


def data_type(field: Any) -> str:
    """Return ``FP32`` for a field whose ``data_type`` is ``TYPE_FP32``; ``BYTES`` for strings."""
    name = str(model_config_pb2.DataType.Name(field.data_type)).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def as_stub_sees(config: model_config_pb2.ModelConfig) -> dict[str, Any]:
    """Return *config* as the JSON that Triton gives a Python model: field names as written, sizes as numbers."""
    data = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    numbers: dict[str, Any] = json.loads(json.dumps(data), object_hook=_numbers)
    return numbers


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    """Turn the int64 lists of a record, which protobuf's JSON has as strings, into numbers."""
    for key in ("dims", "shape"):
        if isinstance(record.get(key), list):
            record[key] = [int(value) for value in record[key]]
    return record


def _values(random: np.random.Generator, kind: str, shape: list[int]) -> np.ndarray[Any, Any]:
    if kind == "BYTES":
        return np.full(shape, b"envbuilder", dtype="S10")
    if kind == "BOOL":
        return random.random(shape) < 0.5
    if kind == "BF16":
        return random.standard_normal(shape).astype(np.float32)
    dtype = np.dtype(triton_to_np_dtype(kind))
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)  # 0 and 1 are indexes into anything


def save(path: Path, cases: dict[int, Inputs]) -> None:
    """Write inputs as the probe reads them."""
    arrays: dict[str, Any] = {
        f"{size}/{name}": array for size, case in cases.items() for name, array in case.items()
    }
    np.savez(path, **arrays)


def load(path: Path) -> dict[int, Inputs]:
    """Read what the probe wrote."""
    cases: dict[int, Inputs] = {}
    with np.load(path) as data:
        for key in data.files:
            size, _, name = key.partition("/")
            cases.setdefault(int(size), {})[name] = data[key]
    return cases
