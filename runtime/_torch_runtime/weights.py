"""Weights: read from files without running code that is in them, and given to a module."""

from __future__ import annotations

import inspect
import json
import mmap
import os
import re
import struct
import zipfile
from typing import Any

import torch

from .errors import ModelError, describe


def read_state(path: str) -> dict[str, torch.Tensor]:
    """Read a state_dict, its tensors mapped from the file; never run code that is in it."""
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    name, option = os.path.basename(path), {}
    if "mmap" in inspect.signature(torch.load).parameters and zipfile.is_zipfile(path):  # torch 2.1 and later
        option = {"mmap": True}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, **option)
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            text = f"{name} wants {refused[1]} while it is unpickled, which could run code: refused; "
            raise ModelError(text + "save it again as torch.save(module.state_dict(), path)") from error
        raise ModelError(f"{name} cannot be read: {describe(error, '')}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{name} holds no state_dict but a {type(state).__name__}")
    return dict(state)


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Read the format of https://github.com/huggingface/safetensors: length, JSON header, raw tensors."""
    dtypes = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
    dtypes.update({"I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"})
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length).decode("utf-8"))
            header.pop("__metadata__", None)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        state = {}
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = getattr(torch, dtypes[entry["dtype"]])
            state[key] = tensor_at(mapped, 8 + length + begin, end - begin, dtype, entry["shape"])
    except (ValueError, KeyError, TypeError, struct.error, RuntimeError, MemoryError, OverflowError) as error:
        name = os.path.basename(path)
        raise ModelError(f"{name} is not a safetensors file: {describe(error, '')}") from error
    return state


def tensor_at(
    memory: mmap.mmap, offset: int, size: int, dtype: torch.dtype, shape: list[int]
) -> torch.Tensor:
    """Return the tensor that lies in *size* bytes of mapped *memory* from *offset* on."""
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=offset).view(dtype).reshape(shape)


def load_state(module: torch.nn.Module, path: str) -> None:
    """Give *module* the state_dict in the file at *path*.

    Raises:
        ModelError: it belongs to another model; missing, unexpected and misshapen keys are named.
    """
    state, expected = read_state(path), module.state_dict()
    for prefix in ("module.", "_orig_mod.", "module."):
        if not set(state) & set(expected) and all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    missing, unexpected = [k for k in expected if k not in state], [k for k in state if k not in expected]
    problems = []
    for what, keys in (("missing", missing), ("unexpected", unexpected)):
        if keys:
            more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
            problems.append(f"{what}: {', '.join(keys[:8])}{more}")
    for key, tensor in expected.items():
        if key in state and state[key].shape != tensor.shape:
            problems.append(f"{key} has the shape {list(state[key].shape)}, the model {list(tensor.shape)}")
    if problems:
        file, model = os.path.basename(path), type(module).__name__
        raise ModelError(f"{file} does not fit {model}: {'; '.join(problems)}")
    # The parameters become the mapped pages themselves (torch 2.1 and later), in the dtype of the file.
    option = {"assign": True} if "assign" in inspect.signature(module.load_state_dict).parameters else {}
    module.load_state_dict(state, **option)


def module_tensors(module: Any) -> dict[str, torch.Tensor]:
    """Return the weights and buffers of a module by name; nothing for a function."""
    if not isinstance(module, torch.nn.Module):
        return {}
    tensors: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    return tensors


def describe_weights(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return what compiled code takes for granted of the weights of a module."""
    return {name: describe_tensor(tensor) for name, tensor in tensors.items()}


def describe_tensor(tensor: torch.Tensor) -> str:
    """Return what compiled code knows of a weight."""
    dtype = str(tensor.dtype).replace("torch.", "")
    strides = "" if tensor.is_contiguous() else f" with strides {list(tensor.stride())}"
    return f"{dtype} {list(tensor.shape)}{strides}"
