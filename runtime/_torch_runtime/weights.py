"""Read weights from files without running code in them, and describe them."""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import inspect
import json
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .errors import ModelError, describe
from .keys import EXTRA, versions_of
from .weight_files import LEGACY

MOST_HEADER = 100_000_000
"""Largest header of a safetensors file, in bytes: the limit of its own library."""
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
_DTYPES.update({"I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"})
_DTYPES.update({"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64"})
_DTYPES.update({"U16": "uint16", "U32": "uint32", "U64": "uint64"})
_TRAINING = re.compile(r"(optim|.*(_|^)optimizer|.*scheduler|scaler|.*callbacks|loops|rng|.*rng_state)")
"""Matches the beginning of checkpoint keys under which trainers save their own state, to resume training."""
_DEEPEST = 1
"""The deepest level whose nested dicts are searched for state_dicts; the checkpoint itself is level 0."""
_BROKEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)
"""Errors raised by an invalid header; RecursionError is a RuntimeError."""


def read_weights(paths: Sequence[str], key: str | None = None) -> dict[str, torch.Tensor]:
    """Read the state_dict in the files at *paths*, shards of one; never run code in them.

    *key* is which of several in a file is meant.

    Raises:
        ModelError: a file cannot be read, or two of them hold the same key.
    """
    if len(paths) == 1:
        return read_state(paths[0], key)
    state: dict[str, torch.Tensor] = {}
    for path in paths:
        part = read_state(path, key)
        twice = sorted(set(part) & set(state))
        if twice:
            raise ModelError(f"{os.path.basename(path)} holds {twice[0]}, which another shard contains, too")
        state.update(part)
    return state


def read_state(path: str, key: str | None = None) -> dict[str, torch.Tensor]:
    """Read a state_dict, its tensors mapped from the file; never run code in it."""
    name = os.path.basename(path)
    if is_safetensors(path):
        if key is not None:
            raise ModelError(f"{name} holds one state_dict, as all files of safetensors: leave out #{key}")
        return _read_safetensors(path)
    return _state_in(unpickle(path), name, key)


def unpickle(path: str) -> Any:
    """Return the object that torch.save wrote, its tensors mapped from the file; never run code in it.

    Raises:
        ModelError: it cannot be read, or wants to call something.
    """
    name, option = os.path.basename(path), {}
    misnamed = path.endswith(
        ".safetensors"
    )  # torch goes by the suffix of a path, and cannot map an open file
    if (
        not misnamed and "mmap" in inspect.signature(torch.load).parameters and zipfile.is_zipfile(path)
    ):  # torch 2.1 and later
        option = {"mmap": True}
    try:
        with _plain_allowed():
            if misnamed:
                with open(path, "rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, **option)
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        why = re.search(r"WeightsUnpickler error: *\n*(.+)", str(error))
        if refused:
            text = f"{name} wants {refused[1]} while it is unpickled, which could run code: refused; "
            raise ModelError(text + "save it again as torch.save(module.state_dict(), path)") from error
        if why:  # the rest of torch's message advises to run the code
            raise ModelError(
                f"{name} is no state_dict of torch.save ({why[1].strip().rstrip('.')}): save it again as "
                "torch.save(module.state_dict(), path)"
            ) from error
        raise ModelError(f"{name} cannot be read: {describe(error, '')}") from error


def _plain_allowed() -> Any:
    """Allow types of plain values that trainers save beside weights: a program's arguments, NumPy's scalars."""
    allow: Any = getattr(torch.serialization, "safe_globals", None)
    if allow is None:  # before torch 2.5
        return contextlib.nullcontext()
    multiarray: Any = importlib.import_module(
        "numpy._core.multiarray" if hasattr(np, "_core") else "numpy.core.multiarray"
    )
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    allowed: list[Any] = [argparse.Namespace, np.dtype, multiarray.scalar, *kinds]
    try:  # under the module names of NumPy 1 and 2
        return allow(
            [*allowed, *((multiarray.scalar, f"numpy.{one}.multiarray.scalar") for one in ("core", "_core"))]
        )
    except (TypeError, AttributeError):
        return allow(allowed)


def _is_pickle(path: str) -> bool:
    """Return whether torch.save wrote a file, whatever its name."""
    with open(path, "rb") as file:
        head = file.read(16)
    return zipfile.is_zipfile(path) or (head.startswith(b"\x80") and LEGACY in head)


def is_safetensors(path: str) -> bool:
    """Return whether a file is in safetensors format, whatever its name; a damaged one is, by its suffix."""
    with open(path, "rb") as file:
        by_content = file.read(10)[8:] == b'{"'  # the header is JSON
    return by_content or (path.endswith(".safetensors") and not _is_pickle(path))


def _state_in(state: Any, name: str, wanted: str | None) -> dict[str, torch.Tensor]:
    """Return the state_dict in the object that torch.load returned for the file *name*, which may be a checkpoint.

    *wanted* is its key in the checkpoint, if one was given.

    Raises:
        ModelError: there is none, or several.
    """
    inside = _states(state)
    if wanted is not None:
        part = _below(state, wanted) if wanted.endswith(".") else {}
        if part:
            return part
        if wanted not in inside:
            raise ModelError(
                f"{name} has no state_dict {wanted!r}; it has {', '.join(inside) or 'none by name'}"
            )
        return _copied(inside[wanted])
    if _is_state(state):
        return _copied(state)
    main = inside.get("state_dict")  # used by Lightning and many others
    if main is not None:
        inside = {key: one for key, one in inside.items() if one is main or _is_another(one, main, key)}
    if len(inside) > 1:
        several = ", ".join(inside)
        first = next(iter(inside))
        raise ModelError(
            f"{name} holds several state_dicts: {several}; say which: MODEL_WEIGHTS {name}#{first}, for instance"
        )
    if inside:
        return _copied(next(iter(inside.values())))
    raise ModelError(
        f"{name} contains a {type(state).__name__}, not a state_dict{_no_tensor(state)}; save it again as "
        "torch.save(module.state_dict(), path)"
    )


def _states(state: Any, depth: int = 0) -> dict[str, Any]:
    """Return a checkpoint's state_dicts by dotted key, without those of optimizers; if none, those nested deeper."""
    if not isinstance(state, dict):
        return {}
    parts = {key: value for key, value in state.items() if isinstance(key, str) and not _TRAINING.match(key)}
    found = {key: value for key, value in parts.items() if _is_state(value)}
    if found or depth > _DEEPEST:
        return found
    deeper = {key: _states(value, depth + 1) for key, value in parts.items()}
    return {f"{key}.{name}": one for key, states in deeper.items() for name, one in states.items()}


def _below(state: Any, prefix: str) -> dict[str, Any]:
    """Return the entries of a state_dict below *prefix*, without it; empty if the file has several state_dicts."""
    states = [state] if _is_state(state) else list(_states(state).values())
    flat = states[0] if len(states) == 1 else {}
    part = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
    return _copied(part, versions_of(flat))


def _copied(state: dict[str, Any], versions: Any = None) -> dict[str, Any]:
    """Return a copy of *state* with the *versions* of its modules, or else its own."""
    copy: Any = collections.OrderedDict(state)
    copy._metadata = versions_of(state) if versions is None else versions  # noqa: SLF001  # as torch names it
    return copy  # type: ignore[no-any-return]


def _is_another(one: dict[str, Any], main: dict[str, Any], key: str) -> bool:
    """Return whether *one*, under *key*, has the keys of *main*: usually an average of it."""
    return "ema" in key.lower() or len(one) == len(main) or not set(one).isdisjoint(main)


def _no_tensor(state: Any) -> str:
    """Describe why a dict is not a state_dict: the first key that is not a name, or not a tensor's."""
    if not isinstance(state, dict) or not state:
        return ""
    inner = state.get("state_dict", state)
    for key, value in (inner if isinstance(inner, dict) else {}).items():
        if not isinstance(key, str):
            return f": its key {key!r} is no name"
        if not isinstance(value, torch.Tensor):
            return f": under {key!r} there is a {type(value).__name__}"
    return ""


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(k, str) and (isinstance(v, torch.Tensor) or k.endswith(EXTRA))
            for k, v in value.items()
        )
        and any(isinstance(v, torch.Tensor) for v in value.values())
    )


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Read the format of https://github.com/huggingface/safetensors: length, JSON header, raw tensors."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            rest = os.fstat(file.fileno()).st_size - 8
            if length > min(rest, MOST_HEADER):
                limit = f"the limit is {MOST_HEADER:,}" if length <= rest else f"{rest:,} follow"
                raise ValueError(f"its header claims to have {length:,} bytes, {limit}")
            header = json.loads(file.read(length).decode("utf-8"))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        header.pop("__metadata__", None)
        places = sorted((*entry["data_offsets"], key) for key, entry in header.items())
        _check_places(places, rest - length)
        state = {}
        for begin, end, key in places:
            dtype = getattr(torch, _DTYPES[header[key]["dtype"]])
            state[key] = tensor_at(mapped, 8 + length + begin, end - begin, dtype, header[key]["shape"])
        return {key: state[key] for key in header}
    except _BROKEN as error:
        name = os.path.basename(path)
        raise ModelError(f"{name} is not a safetensors file: {describe(error, '')}") from error


def _check_places(places: Sequence[tuple[int, int, str]], size: int) -> None:
    """Check that tensors, sorted by begin and end in bytes, do not overlap and lie within *size* bytes."""
    last = 0
    for begin, end, key in places:
        if not last <= begin <= end <= size:
            place = f"the header places {key} in bytes {begin} to {end} of {size}"
            raise ValueError(f"{place}; expected {last} or later, within the file")
        last = end


def tensor_at(
    memory: mmap.mmap, offset: int, size: int, dtype: torch.dtype, shape: list[int]
) -> torch.Tensor:
    """Return the tensor in *size* bytes of mapped *memory* from *offset* on."""
    if not size:
        return torch.empty(0, dtype=dtype).reshape(shape)  # an error where the shape has elements
    return torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=offset).view(dtype).reshape(shape)


def module_tensors(module: Any) -> dict[str, torch.Tensor]:
    """Return the weights and buffers of a module by name; nothing for a function."""
    if not isinstance(module, torch.nn.Module):
        return {}
    tensors: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    return tensors


def describe_weights(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return the properties of a module's weights that compiled code relies on."""
    return {name: describe_tensor(tensor) for name, tensor in tensors.items()}


def describe_tensor(tensor: torch.Tensor) -> str:
    """Return the properties of a weight that compiled code relies on."""
    dtype = str(tensor.dtype).replace("torch.", "")
    strides = "" if tensor.is_contiguous() else f" with strides {list(tensor.stride())}"
    return f"{dtype} {list(tensor.shape)}{strides}"
