"""Match the keys of a state_dict to those of a module: prefixes and wrappers change names only."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable, Dict, NamedTuple, Tuple

import torch

from .errors import ModelError

State = Dict[str, torch.Tensor]
Rename = Tuple[str, Callable[[str], str]]

DERIVED = re.compile(
    r"(^|.*\.)(position_ids|token_type_ids|num_batches_tracked|relative_position_index|relative_coords_table"
    r"|attn_mask|(rotary_emb\.)?inv_freq|masked_bias|embed_positions\.weights)"
)
"""Names of buffers that a constructor computes, and that only some releases of a library save."""
EXTRA = ("_extra_state", "_packed_params.dtype", "_packed_params._packed_params")
"""Ends of keys whose values are not tensors: what ``get_extra_state`` returned, or layers of quantized modules."""
_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile add to each key."""
_WRAPPING = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
"""Parts that wrappers add to keys at any depth: the above, FSDP, activation checkpointing and Lightning Fabric."""
_DEEPEST = 3
"""The most parts of a prefix below which the keys of a model are searched."""
_MOST_NAMED = 8


class Fitted(NamedTuple):
    """A state_dict with its keys renamed to those of a model."""

    state: State
    said: str = ""
    """A description of the renaming for the log; empty if it needs none."""
    left: tuple[str, ...] = ()
    """Keys of the file that were left out because they belong to other modules."""


def fit_keys(state: State, expected: State, aliases: Iterable[Sequence[str]], file: str) -> Fitted:
    """Return *state* with the prefix removed or added that makes its keys fit *expected* best.

    If renaming all keys does not make them fit, but those below one prefix are exactly the model's, only these are
    used: the others belong to a loss or to metrics.

    Args:
        state: the tensors of the file by key.
        expected: the tensors of the model by key.
        aliases: groups of keys that are names of one tensor of the model (tied weights).
        file: the name of the file, for messages.

    Raises:
        ModelError: the keys below several prefixes fit.
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
    """Return each of *keys* without the parts that wrappers add; None if two keys would become equal."""
    bare = {key: ".".join(part for part in key.split(".") if part not in _WRAPPING) for key in keys}
    return bare if len(set(bare.values())) == len(bare) else None


def _part(state: State, expected: State, tied: dict[str, set[str]], file: str) -> Fitted | None:
    """Return the part of *state* below the prefix whose keys fit the model and are at least half of all; else None."""
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


def versions_of(state: Any) -> dict[str, Any]:
    """Return the versions of the modules whose ``state_dict`` *state* is, by their path: torch keeps them beside it."""
    said = getattr(state, "_metadata", None)
    if not isinstance(said, dict):
        return {}
    fits = all(isinstance(key, str) and isinstance(one, dict) for key, one in said.items())
    return dict(said) if fits else {}


def versions_for(state: Any, whole: Any, *, renamed: bool) -> dict[str, Any]:
    """Return the versions with which to load *state* into a module whose ``state_dict`` is *whole*.

    Modules that changed between releases of a library convert older weights, or refuse those of no version. Where
    keys were *renamed*, those of the module itself are right if the file has as many of each; else none are known.
    """
    given, own = versions_of(state), versions_of(whole)
    if not renamed:
        return given
    counts = [Counter(repr(one.get("version")) for one in versions.values()) for versions in (given, own)]
    return own if not counts[1] - counts[0] else {}


def listed(keys: Sequence[str]) -> str:
    """Return the first of *keys* as text, with the number of further ones."""
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return ", ".join(keys[:_MOST_NAMED]) + more
