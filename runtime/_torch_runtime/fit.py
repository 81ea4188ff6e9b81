"""Load a state_dict into a module: which keys may be missing or unexpected, and which prefixes are ignored."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Collection
from typing import Any, Callable, Dict, Tuple

import torch

from .errors import ModelError
from .log import Log

State = Dict[str, torch.Tensor]

_DERIVED = re.compile(
    r"(^|.*\.)(position_ids|token_type_ids|num_batches_tracked|relative_position_index|relative_coords_table"
    r"|attn_mask|(rotary_emb\.)?inv_freq|masked_bias|embed_positions\.weights)"
)
"""Names of buffers that a constructor computes, and that only some releases of a library save."""
_CAUSAL_MASK = re.compile(r"(^|.*\.)(attn|attention|attn\.attention)\.bias")
"""GPT-2's and its kind's: a lower triangle of ones, ``[1, 1, n, n]``."""
_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile add to each key."""
_MOST_NAMED = 8


def load_state(
    module: torch.nn.Module, state: State, file: str, log: Log, kept: Collection[torch.dtype] = ()
) -> None:
    """Load the *state* from *file* into *module*.

    Tensors are converted to the dtypes of *module*, as by torch's own ``load_state_dict``; those of a dtype that
    the configuration's inputs have (*kept*) are not converted.

    Missing keys that are other names of present tensors (tied weights) are not an error. Buffers that a constructor
    computes may be missing or unexpected, with a warning. A prefix that all keys of one side have is removed or
    added where that makes the state fit, with a warning.

    Raises:
        ModelError: it belongs to another model; the message names missing and unexpected keys, and wrong shapes.
    """
    expected = {k: v for k, v in module.state_dict(keep_vars=True).items() if isinstance(v, torch.Tensor)}
    state = _without_count(state, expected)
    aliases = _aliases(expected)
    renamed, state = _fitted(state, expected, aliases)
    derived = _derived(module, state, expected)
    filled = {key: value for key, value in state.items() if key not in derived or key in expected}
    problems = _misshapen(filled, expected)
    converted = [] if problems else _convert(filled, expected, kept)
    _fill_tied(filled, aliases, file)
    if not problems:
        # The parameters become the mapped pages (torch 2.1 and later), in the dtype of the file.
        assign = "assign" in inspect.signature(module.load_state_dict).parameters
        option = {"assign": True} if assign else {}
        try:
            found = module.load_state_dict(filled, strict=False, **option)
        except RuntimeError as error:  # a hook of the module's own
            raise ModelError(f"{file} does not fit {type(module).__name__}: {error}") from error
        missing = [key for key in found.missing_keys if not _may_be_absent(module, key, expected)]
        problems = [*_named("missing", missing), *_named("unexpected", found.unexpected_keys)]
        absent = [key for key in found.missing_keys if key not in missing]
        if absent and not problems:
            log.warn(f"{file} has no {_listed(absent)}: as the constructor computes them")
    else:
        missing = [k for k in expected if k not in filled and not _may_be_absent(module, k, expected)]
        unexpected = [k for k in filled if k not in expected]
        problems = [*_named("missing", missing), *_named("unexpected", unexpected), *problems]
    if problems:
        raise ModelError(f"{file} does not fit {type(module).__name__}: {'; '.join(problems)}")
    if renamed:
        log.info(f"{file}: {renamed}")
    for pair in converted:
        log.info(f"{file}: {pair}, which {type(module).__name__} is made in; DTYPE serves it in another")
    if derived:
        log.warn(f"{file} has {_listed(derived)}, which {type(module).__name__} computes itself: not loaded")


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
        if state[key].shape != tensor.shape:
            problems.append(f"{key} has the shape {list(state[key].shape)}, the model {list(tensor.shape)}")
        elif state[key].is_complex() and not tensor.is_complex():
            problems.append(f"{key} is complex, and the model's is not")
    return problems


def _convert(state: State, expected: State, kept: Collection[torch.dtype]) -> list[str]:
    """Convert the tensors in *state* to the dtypes of *expected*; return which parameters that changed.

    A boolean mask saved as uint8 is converted, too, because ``~`` differs between them.
    """
    said = set()
    for key, tensor in expected.items():
        if key not in state or torch.nn.parameter.is_lazy(tensor) or state[key].dtype == tensor.dtype:
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
    return [f"{what}: {_listed(keys)}"] if keys else []


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return ", ".join(keys[:_MOST_NAMED]) + more


def _derived(module: torch.nn.Module, state: State, expected: State) -> list[str]:
    """Return the keys of *state* that are buffers which *module* computes, or an older release of it computed."""
    buffers = {name for name, _ in module.named_buffers(remove_duplicate=False)}
    modules = {name for name, _ in module.named_modules()}
    ignored = [re.compile(one) for one in getattr(module, "_keys_to_ignore_on_load_unexpected", None) or ()]
    found = []
    for key, tensor in state.items():
        if key in expected:
            continue
        known = key in buffers or any(pattern.search(key) for pattern in ignored)
        known = known or bool(_DERIVED.fullmatch(key)) or _is_causal_mask(key, tensor)
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
    return bool(_DERIVED.fullmatch(key)) or any(re.search(one, key) for one in ignored)


Rename = Tuple[str, Callable[[str], str]]


def _fitted(state: State, expected: State, aliases: list[list[str]]) -> tuple[str, State]:
    """Return *state* with the prefix removed or added that makes it fit best, and a description of the change."""
    tied = {key: set(keys) for keys in aliases for key in keys}

    def misfits(candidate: State) -> int:
        missing = [k for k in expected if k not in candidate and not tied.get(k, set()) & set(candidate)]
        unexpected = [k for k in candidate if k not in expected]
        return sum(1 for key in (*missing, *unexpected) if not _DERIVED.fullmatch(key))

    best, said, chosen = misfits(state), "", state
    for text, rename in _renames(state, expected):
        if not best:
            break
        candidate = {rename(key): value for key, value in state.items()}
        found = misfits(candidate)
        if found < best:
            best, said, chosen = found, text, candidate
    return said, chosen


def _renames(state: State, expected: State) -> list[Rename]:
    """Return each way to remove a prefix from all keys of *state*, or to add one that all of *expected* have."""
    renames: list[Rename] = []
    for prefix in _prefixes(list(state)):
        said = f"all its keys begin with {prefix}, which the model lacks: removed"
        renames.append(("" if _is_wrapper(prefix) else said, functools.partial(_without, prefix)))
    wrappers = [prefix for prefix in _prefixes(list(state)) if _is_wrapper(prefix)]
    for prefix in _prefixes(list(expected)):
        said = f"all keys of the model begin with {prefix}, which it lacks: added"
        renames.append((said, prefix.__add__))
        renames += [(said, functools.partial(_instead, wrapper, prefix)) for wrapper in wrappers]
    return renames


def _without(prefix: str, key: str) -> str:
    return key[len(prefix) :]


def _instead(wrapper: str, prefix: str, key: str) -> str:
    return prefix + key[len(wrapper) :]


def _is_wrapper(prefix: str) -> bool:
    return not re.sub("|".join(map(re.escape, _WRAPPERS)), "", prefix)


def _prefixes(keys: list[str]) -> list[str]:
    """Return the common prefixes of all *keys*, each up to a dot, the shortest first."""
    if not keys:
        return []
    low, high = min(keys), max(keys)
    length = next((i for i, (a, b) in enumerate(zip(low, high)) if a != b), min(len(low), len(high)))
    return [low[: place + 1] for place in range(length) if low[place] == "."]
