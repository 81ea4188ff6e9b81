"""Conversions of data types and byte tensors, as in Triton's ``triton_python_backend_utils.py``."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import struct
from typing import Any, Dict, List

import numpy as np

TRITON_STRING_TO_NUMPY: Dict[str, Any] = {
    "TYPE_BOOL": bool,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}
NUMBERED: Dict[int, Any] = {
    number: np.bool_ if kind is bool else kind
    for number, kind in enumerate(TRITON_STRING_TO_NUMPY.values(), start=1)
}
"""NumPy types by number in Triton's enumeration."""
BF16 = 14


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """Return the NumPy type of ``TYPE_FP32``; KeyError for one that NumPy does not have (``TYPE_BF16``)."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def triton_to_numpy_type(data_type: int) -> Any:
    """Return the NumPy type of a number of Triton's enumeration; None for one that NumPy does not have."""
    return NUMBERED.get(data_type)


def numpy_to_triton_type(data_type: Any) -> int | None:
    """Return the number of a NumPy type or dtype in Triton's enumeration; None if it has none."""
    for number, kind in NUMBERED.items():
        if data_type == kind:
            return number
    return 13 if data_type == np.bytes_ else None


def serialize_byte_tensor(input_tensor: np.ndarray[Any, Any]) -> Any:
    """Return the elements of an array of strings, each after its length as uint32; ``()`` for an empty array.

    None for an array of another type.
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype != np.object_ and input_tensor.dtype.type != np.bytes_:
        return None
    return b"".join(struct.pack("<I", len(data)) + data for data in elements(input_tensor))


def elements(array: np.ndarray[Any, Any]) -> List[bytes]:
    """Return the elements of an array of strings as bytes, as Triton's module serializes them.

    In an array of objects, ``bytes`` are unchanged; of all others the ``str()`` is encoded as UTF-8, also of a
    ``numpy.bytes_`` (``b'x'``).
    """
    if array.dtype.type == np.bytes_:
        return [bytes(item) for item in array.ravel()]
    return [item if type(item) is bytes else str(item).encode("utf-8") for item in array.ravel()]


def deserialize_bytes_tensor(encoded_tensor: bytes) -> np.ndarray[Any, Any]:
    """Return the result of :func:`serialize_byte_tensor` as a flat array of bytes objects."""
    items, offset = [], 0
    while offset < len(encoded_tensor):
        (length,) = struct.unpack_from("<I", encoded_tensor, offset)
        offset += 4
        (item,) = struct.unpack_from(f"<{length}s", encoded_tensor, offset)
        offset += length
        items.append(item)
    return np.array(items, dtype=np.object_)
