"""Requests for a model in an ``.npz`` without pickles: by label, an array for each input."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

PATIENCE = 60.0
"""Seconds: after a request that took longer, no other values are tried, and whether these would do is not known."""


def packed(label: str, name: str, array: Any) -> tuple[str, Any]:
    """Return a key for an input, and an array that can be written; strings are serialized as Triton sends them."""
    if array.dtype.kind not in "OSU":
        return f"{label}/{name}", array
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1)]
    data = b"".join(struct.pack("<I", len(item)) + item for item in items)
    shape = "x".join(map(str, array.shape))
    return f"{label}*{shape}/{name}", np.frombuffer(data, np.uint8)


def read_cases(path: str) -> dict[str, dict[str, Any]]:
    """Read a file with the keys of :func:`packed`."""
    cases: dict[str, dict[str, Any]] = {}
    with np.load(path) as data:
        for key in data.files:
            place, _, name = key.partition("/")
            label, strings, shape = place.partition("*")
            array = data[key]
            if strings:
                array = _strings(array.tobytes(), [int(size) for size in shape.split("x") if size])
            cases.setdefault(label, {})[name] = array
    return cases


def may_be_the_inputs_fault(
    inputs: dict[str, Any], answers: Callable[[dict[str, Any]], bool], *, seconds: float
) -> bool:
    """Return whether a model may refuse generated *inputs* because of the values of their floats.

    Some models accept only a range: probabilities, arguments of roots or logarithms. *answers* returns whether a
    request is accepted; the refused one, which took *seconds*, must be refused again.
    """
    if seconds >= PATIENCE:
        return any(array.dtype.kind == "f" for array in inputs.values())
    return any(map(answers, _with_other_floats(inputs))) and not answers(inputs)


def _with_other_floats(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if all(array.dtype.kind != "f" for array in inputs.values()):
        return
    random = np.random.RandomState(0)
    for make in (random.random_sample, np.ones, np.zeros):
        yield {
            name: np.asarray(make(array.shape), array.dtype) if array.dtype.kind == "f" else array
            for name, array in inputs.items()
        }


def titled(label: str) -> str:
    """Describe a request: a number is the size of a batch."""
    return f"batch of {label}" if label.isdigit() else label


def _strings(data: bytes, shape: list[int]) -> Any:
    items, offset = [], 0
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        items.append(data[offset + 4 : offset + 4 + length])
        offset += 4 + length
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)
