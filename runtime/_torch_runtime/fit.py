"""Load a state_dict into a module: which keys may be missing or unexpected, and which dtypes and shapes fit."""

from __future__ import annotations

import collections
import inspect
import re
from collections.abc import Collection
from typing import Any

import torch

from .errors import ModelError, describe
from .keys import DERIVED, EXTRA, State, fit_keys, listed, versions_for
from .log import Log

_CAUSAL_MASK = re.compile(r"(^|.*\.)(attn|attention|attn\.attention)\.bias")
"""The causal mask of GPT-2 and similar models: a lower triangle of ones, ``[1, 1, n, n]``."""
_MOST_SHOWN = 8
"""How many tensors that do not fit are described."""


def load_state(
    module: torch.nn.Module, state: State, file: str, log: Log, kept: Collection[torch.dtype] = ()
) -> None:
    """Load the *state* from *file* into *module*.

    Tensors are converted to the dtypes of *module*, as by torch's own ``load_state_dict``; those of a dtype that
    the configuration's inputs have (*kept*) are not converted.

    Missing keys that are other names of present tensors (tied weights) are not an error. Buffers that a constructor
    computes may be missing or unexpected, with a warning. A prefix that all keys of one side have is removed or
    added if the state then fits, which is logged. If all keys of the module are found below one prefix of the file,
    the file's other keys are ignored, with a warning.

    Raises:
        ModelError: it belongs to another model; the message names missing and unexpected keys, and wrong shapes.
    """
    whole = module.state_dict(keep_vars=True)
    expected = {key: value for key, value in whole.items() if isinstance(value, torch.Tensor)}
    extras = {key: value for key, value in state.items() if key.endswith(EXTRA) and key in whole}
    read, state = state, {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    state = _without_count(state, expected)
    aliases = _aliases(expected)
    fitted = fit_keys(state, expected, aliases, file)
    versions = versions_for(read, whole, renamed=fitted.state is not state)
    state = fitted.state
    derived = _derived(module, state, expected)
    filled = {key: value for key, value in state.items() if key not in derived}
    problems = _misshapen(filled, expected)
    converted = [] if problems else _convert(filled, expected, kept)
    _fill_tied(filled, aliases, file)
    if not problems:
        # The parameters become the mapped pages (torch 2.1 and later), in the dtype of the file.
        assign = "assign" in inspect.signature(module.load_state_dict).parameters
        option = {"assign": True} if assign else {}
        given: Any = collections.OrderedDict({**filled, **extras})
        given._metadata = versions or None  # noqa: SLF001  # as torch names it
        try:
            found = module.load_state_dict(given, strict=False, **option)
        except Exception as error:  # of the module's own code
            told = str(error) if isinstance(error, RuntimeError) else describe(error, "")
            raise ModelError(f"{file} does not fit {type(module).__name__}: {told}") from error
        missing = [key for key in found.missing_keys if not _may_be_absent(module, key, expected)]
        problems = [*_named("missing", missing), *_named("unexpected", found.unexpected_keys)]
        absent = [key for key in found.missing_keys if key not in missing and key not in derived]
        if absent and not problems:
            log.warn(f"{file} has no {listed(absent)}: as the constructor computes them")
    else:
        missing = [k for k in expected if k not in filled and not _may_be_absent(module, k, expected)]
        unexpected = [k for k in filled if k not in expected]
        problems = [*_named("missing", missing), *_named("unexpected", unexpected), *problems]
    if problems:
        raise ModelError(f"{file} does not fit {type(module).__name__}: {'; '.join(problems)}")
    if fitted.said:
        log.info(f"{file}: {fitted.said}")
    if fitted.left:
        log.warn(
            f"{file} has {listed(fitted.left)}, which {type(module).__name__} has no place for: not loaded"
        )
    for pair in converted:
        log.info(f"{file}: {pair}, which {type(module).__name__} is made in; DTYPE serves it in another")
    if derived:
        log.warn(f"{file} has {listed(derived)}, which {type(module).__name__} computes itself: not loaded")


def _aliases(expected: State) -> list[list[str]]:
    """Return the groups of keys that are names of one tensor."""
    names: dict[Any, list[str]] = {}
    for key, tensor in expected.items():
        empty = torch.nn.parameter.is_lazy(tensor) or tensor.is_meta or not tensor.numel()
        place = None if empty else tensor.data_ptr()
        same: Any = (place, tuple(tensor.shape), tensor.stride(), tensor.dtype) if place else id(tensor)
        names.setdefault(same, []).append(key)
    return [keys for keys in names.values() if len(keys) > 1]


def _fill_tied(state: State, aliases: list[list[str]], file: str) -> None:
    """Assign tied keys one parameter, so that they stay tied."""
    for keys in aliases:
        there = [key for key in keys if key in state]
        if not there:
            continue
        first = state[there[0]]
        for key in there[1:]:
            other = state[key]
            if other.shape == first.shape and not torch.equal(other, first):
                text = f"{there[0]} and {key} are one tensor in the model, and two in the file"
                raise ModelError(f"{file} does not fit: {text}")
            if other.shape != first.shape:
                break
        else:
            one = torch.nn.Parameter(first, requires_grad=False)
            state.update((key, one) for key in keys)


def _misshapen(state: State, expected: State) -> list[str]:
    problems = []
    for key, tensor in expected.items():
        lazy = torch.nn.parameter.is_lazy(tensor)
        if key not in state or lazy:
            continue
        given, weight = state[key], isinstance(tensor, torch.nn.Parameter)
        if given.is_quantized != tensor.is_quantized or (weight and _is_number(given) != _is_number(tensor)):
            kinds = f"{given.dtype}, the model's {tensor.dtype}".replace("torch.", "")
            problems.append(f"{key} is {kinds}: what turns one into the other is not in the file")
        elif given.shape != tensor.shape:
            problems.append(f"{key} has the shape {list(given.shape)}, the model {list(tensor.shape)}")
        elif given.is_complex() and not tensor.is_complex():
            problems.append(f"{key} is complex, and the model's is not")
    more = len(problems) - _MOST_SHOWN
    return [*problems[:_MOST_SHOWN], f"and {more} more"] if more > 0 else problems


def _is_number(tensor: torch.Tensor) -> bool:
    """Return whether the dtype is floating or complex: integers in place of such weights are quantized ones."""
    return tensor.is_floating_point() or tensor.is_complex()


def _convert(state: State, expected: State, kept: Collection[torch.dtype]) -> list[str]:
    """Convert the tensors in *state* to the dtypes of *expected*; return which parameters that changed.

    A boolean mask saved as uint8 is converted, too, because ``~`` differs between them.
    """
    said = set()
    for key, tensor in expected.items():
        if key not in state or torch.nn.parameter.is_lazy(tensor):
            continue
        if state[key].layout != tensor.layout and tensor.layout is torch.strided:
            state[key] = state[key].to_dense()
        if state[key].dtype == tensor.dtype:
            continue
        given = state[key].dtype
        if tensor.dtype is torch.float32 and given in kept:
            continue
        state[key] = state[key].to(tensor.dtype)
        if isinstance(tensor, torch.nn.Parameter):
            said.add(f"{given} is converted to {tensor.dtype}".replace("torch.", ""))
    return sorted(said)


def _without_count(state: State, expected: State) -> State:
    """Drop the counter of ``torch.optim.swa_utils.AveragedModel``; the rest is the average."""
    counts = "n_averaged" in state and "n_averaged" not in expected
    if counts and all(key.startswith("module.") for key in state if key != "n_averaged"):
        return {key: value for key, value in state.items() if key != "n_averaged"}
    return state


def _named(what: str, keys: list[str]) -> list[str]:
    return [f"{what}: {listed(keys)}"] if keys else []


def _derived(module: torch.nn.Module, state: State, expected: State) -> list[str]:
    """Return the keys of *state* not to load: buffers that *module* computes, or an older release of it computed.

    A buffer that *module* saves is loaded, unless its shape differs: then it was computed for other sizes.
    """
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    modules = {name for name, _ in module.named_modules()}
    ignored = [re.compile(one) for one in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()]
    found = []
    for key, tensor in state.items():
        if key in expected:
            other = key in buffers and not torch.nn.parameter.is_lazy(expected[key])
            if other and DERIVED.fullmatch(key) and tensor.shape != expected[key].shape:
                found.append(key)
            continue
        known = key in buffers or any(pattern.search(key) for pattern in ignored)
        known = known or bool(DERIVED.fullmatch(key)) or _is_causal_mask(key, tensor)
        if known and key.rpartition(".")[0] in modules:
            found.append(key)
    return found


def _is_causal_mask(key: str, tensor: torch.Tensor) -> bool:
    square = tensor.dim() == 4 and tensor.shape[:2] == (1, 1) and tensor.shape[2] == tensor.shape[3]
    return bool(square and _CAUSAL_MASK.fullmatch(key))


def _may_be_absent(module: torch.nn.Module, key: str, expected: State) -> bool:
    """Return whether a missing key is a buffer that the constructor of *module* computes."""
    ignored = getattr(module, "_keys_to_ignore_on_load_missing", None) or ()
    tensor = expected.get(key)
    if tensor is None or isinstance(tensor, torch.nn.Parameter):
        return False
    return bool(DERIVED.fullmatch(key)) or any(re.search(one, key) for one in ignored)
