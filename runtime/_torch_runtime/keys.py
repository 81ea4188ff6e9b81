"""Which keys of a file are which of a model: prefixes and wrappers are only a matter of names."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, Dict, NamedTuple, Tuple

import torch

from .errors import ModelError

State = Dict[str, torch.Tensor]
Rename = Tuple[str, Callable[[str], str]]

DERIVED = re.compile(
    r"(^|.*\.)(position_ids|token_type_ids|num_batches_tracked|relative_position_index|relative_coords_table"
    r"|attn_mask|(rotary_emb\.)?inv_freq|masked_bias|embed_positions\.weights)"
)
"""Buffers that a constructor computes, and that come and go with releases of a library, by their names."""
EXTRA = "_extra_state"
"""The last part of keys under which modules keep what is no tensor (``get_extra_state``)."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put in front of each key."""
_WRAPPING = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
"""Parts of keys that wrappers of single layers add: those above, FSDP's, activation checkpointing's, and Fabric's."""
_DEEPEST = 3
"""How many parts a prefix may have below which a model's keys are looked for."""
_MOST_NAMED = 8


class Fitted(NamedTuple):
    """A state_dict with the keys of a model."""

    state: State
    said: str = ""
    """In words what was done to its keys, where that is worth saying."""
    left: tuple[str, ...] = ()
    """Keys of the file that belong to other modules."""


def fit_keys(state: State, expected: State, aliases: Iterable[Sequence[str]], file: str) -> Fitted:
    """Return *state* with the prefix taken off or put on that makes it fit *expected* best.

    *aliases* are the keys under which one tensor of the model is known. Where nothing done to all keys makes the file
    fit, the keys below one prefix may be the model's, all of them, and the others those of a loss or of metrics.

    Raises:
        ModelError: there are several such prefixes.
    """
    tied = {key: set(keys) for keys in aliases for key in keys}
    best = _misfits(state, expected, tied)
    chosen = Fitted(state)
    for said, candidate in _candidates(state, expected):
        if not best:
            break
        found = _misfits(candidate, expected, tied)
        if found < best:
            best, chosen = found, Fitted(candidate, said)
    return (_part(state, expected, tied, file) if best else None) or chosen


def _misfits(candidate: State, expected: State, tied: dict[str, set[str]]) -> int:
    missing = [
        k for k in expected if k not in candidate and not any(one in candidate for one in tied.get(k, ()))
    ]
    unexpected = [k for k in candidate if k not in expected]
    return sum(1 for key in (*missing, *unexpected) if not DERIVED.fullmatch(key))


def _candidates(state: State, expected: State) -> Iterator[tuple[str, State]]:
    for said, rename in _renames(state, expected):
        yield said, {rename(key): value for key, value in state.items()}
    names, wanted = _unwrapped(state), _unwrapped(expected)
    if names is None or wanted is None:
        return
    back = {bare: key for key, bare in wanted.items()}
    bared = {names[key]: value for key, value in state.items()}
    same: Rename = ("", str)
    for said, rename in [same, *_renames(bared, {bare: expected[key] for bare, key in back.items()})]:
        renamed = {rename(key): value for key, value in bared.items()}
        yield said, {back.get(key, key): value for key, value in renamed.items()}


def _unwrapped(keys: Iterable[str]) -> dict[str, str] | None:
    """Return *keys* without the parts that wrappers of layers add; None: two of them would be one."""
    bare = {key: ".".join(part for part in key.split(".") if part not in _WRAPPING) for key in keys}
    return bare if len(set(bare.values())) == len(bare) else None


def _part(state: State, expected: State, tied: dict[str, set[str]], file: str) -> Fitted | None:
    """Return what lies below the one prefix in *state* whose keys are the model's, at least half of the file."""
    found = {}
    parts = [key.split(".")[:-1] for key in state]
    prefixes = {
        ".".join([*one[:depth], ""]) for one in parts for depth in range(1, min(len(one), _DEEPEST) + 1)
    }
    for prefix in sorted(prefixes):
        inside = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        large = 2 * len(inside) >= len(state)
        if large and not _misfits(inside, expected, tied) and _same_shapes(inside, expected):
            found[prefix] = inside
    if len(found) > 1:
        first = next(iter(found))
        raise ModelError(
            f"{file} holds several state_dicts that fit, below {' and '.join(found)}; say which: MODEL_WEIGHTS "
            f"{file.split('#')[0]}#{first}, for instance"
        )
    for prefix, inside in found.items():
        said = f"the keys that begin with {prefix} are the model's, without that prefix"
        return Fitted(inside, said, tuple(key for key in state if not key.startswith(prefix)))
    return None


def _same_shapes(state: State, expected: State) -> bool:
    shapes = [(value.shape, expected[key]) for key, value in state.items() if key in expected]
    return all(torch.nn.parameter.is_lazy(one) or shape == one.shape for shape, one in shapes)


def _renames(state: State, expected: State) -> list[Rename]:
    """Return each way of taking a prefix off all keys of *state*, or of putting one on that all of *expected* have."""
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
    """Return the prefixes, each up to a dot, that all of *keys* have: the shortest first."""
    if not keys:
        return []
    low, high = min(keys), max(keys)
    length = next((i for i, (a, b) in enumerate(zip(low, high)) if a != b), min(len(low), len(high)))
    return [low[: place + 1] for place in range(length) if low[place] == "."]


def listed(keys: Sequence[str]) -> str:
    """Return the first of *keys*, and how many more there are."""
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return ", ".join(keys[:_MOST_NAMED]) + more
