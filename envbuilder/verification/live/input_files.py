"""Requests that a user gives: arrays in an ``.npz``, or the JSON of ``perf_analyzer --input-data``.

The JSON is ``{"data": [STEP, …], "validation_data": [STEP, …]}``; a list of lists of steps is several streams, asked
one after the other. A step has for each input a list of values, or ``{"content": …, "shape": […]}``, or
``{"b64": "…", "shape": […]}`` with the bytes of the tensor, little-endian; its shapes have no batch.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from envbuilder.errors import VerifyError
from envbuilder.guest.bfloat16 import from_bits
from envbuilder.util.documents import DocumentError, load_json
from envbuilder.util.files import open_regular
from envbuilder.util.text import human, listed
from envbuilder.util.zips import opened_zip
from envbuilder.verification.live.inputs import MOST, Inputs, data_type

_PICKLE: Final = "an array of Python objects is a pickle, which could run code"
_STRINGS: Final = (
    "save strings as bytes of one length, `array.astype('S')`; where they may end in zero bytes (pictures, say), which "
    "that form loses, save those of one string as `numpy.frombuffer(data, numpy.uint8)`, or give the JSON of "
    '`perf_analyzer --input-data` with {"b64": …}'
)
_FORMS: Final = "an .npz of arrays by input, or the JSON of `perf_analyzer --input-data`"


def read_inputs(path: Path, config: model_config_pb2.ModelConfig) -> list[Inputs]:
    """Return the requests in *path* for the model of *config*, each with a batch dim if the model takes batches.

    Raises:
        VerifyError: it cannot be read, or an input is missing, unknown, or of another type or shape.
    """
    return [
        _checked(step, config.input, config, f"{path}{where}", "input")
        for step, where in _steps(path, "data")
    ]


def read_expected(path: Path, config: model_config_pb2.ModelConfig) -> list[Inputs]:
    """Return the expected outputs in *path* for the model of *config*, in the order of its requests, if any.

    Raises:
        VerifyError: it cannot be read, or an output is unknown, or of another type or shape.
    """
    steps = list(_steps(path, "validation_data")) or list(_steps(path, "data"))
    return [_checked(step, config.output, config, f"{path}{where}", "output") for step, where in steps]


def validation_of(path: Path, config: model_config_pb2.ModelConfig) -> list[Inputs]:
    """Return the ``validation_data`` of a JSON of inputs, if any."""
    if path.suffix == ".npz":
        return []
    steps = _steps(path, "validation_data")
    return [_checked(step, config.output, config, f"{path}{where}", "output") for step, where in steps]


def _steps(path: Path, key: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the steps under *key*, each with its position in the file."""
    try:
        open_regular(path).close()  # else zipfile would wait for a FIFO
        if path.suffix == ".npz" or zipfile.is_zipfile(path):
            if key == "data":
                yield _arrays(path), ""
            return
        document = load_json(path, where=str(path)).value
    except DocumentError as error:
        raise VerifyError(f"{path} is not a file of inputs: {error}", hint=f"give {_FORMS}") from None
    except (OSError, ValueError) as error:
        hint = _STRINGS if _PICKLE in str(error) else f"give {_FORMS}"
        raise VerifyError(f"{path} cannot be read: {error}", hint=hint) from None
    steps = document.get(key, [])
    flat = (
        [step for one in steps for step in (one if isinstance(one, list) else [one])]
        if isinstance(steps, list)
        else None
    )
    if flat is None or not all(isinstance(step, dict) for step in flat) or (key == "data" and not flat):
        raise VerifyError(f"{path}: {key!r} is not a list of steps", hint=f"give {_FORMS}")
    for number, step in enumerate(flat, start=1):
        yield step, f", step {number}" if len(flat) > 1 else ""


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays in an ``.npz``.

    Raises:
        ValueError: it is damaged, or has more than :data:`MOST`, or pickles.
        OSError: it cannot be read.
    """
    try:
        with opened_zip(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST:
                raise ValueError(f"its arrays take {human(size)}, more than {human(MOST)}")
            arrays = {}
            for member in archive.infolist():
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _read_array(file, member.file_size)
            return arrays
    except MemoryError:
        raise ValueError("its arrays are larger than the memory") from None


def _read_array(file: IO[bytes], size: int) -> np.ndarray[Any, Any]:
    data = io.BytesIO(file.read(size))  # the size is that of the zip directory; longer content is cut
    try:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(data, allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(_PICKLE) from None
        raise
    except (SyntaxError, tokenize.TokenError) as error:  # its header is a Python literal
        raise ValueError(f"the header of an array is damaged: {error.args[0]}") from None
    return array


def _checked(
    step: Mapping[str, Any],
    fields: Sequence[Any],
    config: model_config_pb2.ModelConfig,
    where: str,
    what: str,
) -> Inputs:
    known = {field.name: field for field in fields}
    unknown = [name for name in step if name not in known]
    if unknown:
        has = f"the {what} " + listed([*known], "and") if known else f"no {what}"
        raise VerifyError(f"{where}: the model has no {what} {unknown[0]!r}", hint=f"config.pbtxt has {has}")
    missing = [
        name for name, field in known.items() if name not in step and not getattr(field, "optional", False)
    ]
    if missing and what == "input":
        raise VerifyError(
            f"{where}: the input {missing[0]!r} is missing", hint=f"{_FORMS} must contain every input"
        )
    return {
        name: _array(value, known[name], config.max_batch_size > 0, f"{where}: {what} {name!r}")
        for name, value in step.items()
    }


def _array(value: Any, field: Any, batched: bool, where: str) -> np.ndarray[Any, Any]:
    """Convert to an array of the field's type.

    Without a batch dim it becomes a batch of one if the model takes batches.
    """
    kind, dims = data_type(field), [int(dim) for dim in field.dims]
    try:
        if not isinstance(value, np.ndarray):
            array = _of_json(value, kind, dims)
        elif kind == "BYTES" and value.dtype == np.uint8 and value.ndim == 1 and abs(math.prod(dims)) == 1:
            array = _objects([value.tobytes()], [1] * len(dims))
        else:
            array = _typed(value, kind)
    except (ValueError, TypeError, KeyError, ArithmeticError, MemoryError, struct.error) as error:
        said = "its content is missing" if isinstance(error, KeyError) else error
        raise VerifyError(
            f"{where} is not {kind}{dims}: {said}", hint=f"config.pbtxt says {kind}{dims}"
        ) from None
    if batched and array.ndim == len(dims):
        array = array[np.newaxis]
    shape = list(array.shape[1:] if batched else array.shape)
    if len(shape) != len(dims) or any(dim not in (-1, size) for dim, size in zip(dims, shape, strict=True)):
        said = f"[batch, {str(dims)[1:]}" if batched else str(dims)
        raise VerifyError(
            f"{where} has the shape {list(array.shape)}, and config.pbtxt says {said}",
            hint="give it that shape, or correct dims in config.pbtxt",
        )
    return np.ascontiguousarray(array)


def _typed(array: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    if kind == "BYTES":
        if array.dtype.kind not in "OSU":
            raise ValueError(f"its dtype is {array.dtype}")
        return _objects([_bytes(item) for item in array.reshape(-1)], list(array.shape))
    dtype = np.dtype(np.float32 if kind == "BF16" else triton_to_np_dtype(kind))
    if array.dtype.kind not in "biuf":
        raise ValueError(f"its dtype is {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        if dtype.kind == "f":  # which may round, but not exceed its range
            same = np.array_equal(np.isfinite(cast), np.isfinite(array))
        else:
            same = np.array_equal(cast.astype(array.dtype), array)
    if not same:
        raise ValueError(f"its dtype is {array.dtype}, and converting would change values")
    return cast


def _of_json(value: Any, kind: str, dims: list[int]) -> np.ndarray[Any, Any]:
    shape = None
    if isinstance(value, dict) and "shape" in value:
        shape = [int(size) for size in value["shape"]]
    if isinstance(value, dict) and "content" in value:
        value = value["content"]
    if isinstance(value, dict):
        data = base64.b64decode(value["b64"] if "b64" in value else value["content"], validate=True)
        return _of_bytes(data, kind, dims if shape is None else shape)
    values = value if isinstance(value, list) else [value]
    if kind == "BYTES":
        items = [_bytes(item) for item in _flat(values)]
        return _objects(items, _sized(dims if shape is None else shape, len(items)))
    array = _typed(np.array(_flat(values)), kind)
    return array.reshape(_sized(dims if shape is None else shape, array.size))


def _of_bytes(data: bytes, kind: str, dims: list[int]) -> np.ndarray[Any, Any]:
    if kind == "BYTES":
        items = _lengths(data)
        if items is None or math.prod(dims) not in (len(items), -len(items)):
            items = [data]  # one text as it is
        return _objects(items, _sized(dims, len(items)))
    if kind == "BF16":
        values = from_bits(np.frombuffer(data, np.uint16))
        return np.asarray(values).reshape(_sized(dims, values.size))
    array = np.frombuffer(data, np.dtype(triton_to_np_dtype(kind)).newbyteorder("<"))
    return array.astype(triton_to_np_dtype(kind)).reshape(_sized(dims, array.size))


def bytes_as_tensor(data: bytes, kind: str, dims: list[int]) -> np.ndarray[Any, Any]:
    """Return the tensor of *data*, the bytes that Triton sends.

    Raises:
        ValueError: their number is wrong.
    """
    return _of_bytes(data, kind, dims)


def _lengths(data: bytes) -> list[bytes] | None:
    """Return the texts in *data*, each after its length in four bytes; None if it is malformed."""
    items, offset = [], 0
    while offset + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        items.append(data[offset + 4 : offset + 4 + length])
        offset += 4 + length
    return items if offset == len(data) and items else None


def _sized(dims: list[int], count: int) -> list[int]:
    """Return *dims* with the variable one computed from *count* values."""
    if dims.count(-1) > 1:
        raise ValueError(f"{dims} has several variable sizes: add the array's shape")
    fixed = math.prod(dim for dim in dims if dim != -1)
    sizes = [count // fixed if dim == -1 and fixed else dim for dim in dims]
    if math.prod(sizes) != count:
        raise ValueError(f"it has {count} values")
    return sizes


def _flat(values: list[Any]) -> list[Any]:
    return [one for value in values for one in (_flat(value) if isinstance(value, list) else [value])]


def _bytes(item: Any) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def _objects(items: list[bytes], shape: list[int]) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)
