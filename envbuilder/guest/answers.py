"""Outputs of a model: each answer is a list of responses (one, unless decoupled), each a dict of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Dict, List

import numpy as np

from .cases import titled
from .equality import differences

Response = Dict[str, Any]
Answer = List[Response]
_NUMPY = {
    "TYPE_BOOL": "bool",
    "TYPE_BF16": "float32",  # the type in answers
    **{f"TYPE_FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"TYPE_{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""NumPy's types by Triton's names."""
RESPONSES = "the number of responses"
"""Marks that the number of responses varies, like the name of an output."""


def mismatches(
    found: Answer,
    expected: Answer,
    *,
    rough: Iterable[str] = (),
    varying: Iterable[str] = (),
    against: str = "eager",
    tolerance: Mapping[str, float] | None = None,
) -> list[str]:
    """Describe the outputs in which *found* differs from *expected*.

    Of outputs in *varying*, only the type and the number of dims are compared; *rough* and *tolerance* are those of
    :func:`differences`. *against* describes the expected answer.
    """
    loose = set(varying)
    if len(found) != len(expected) and RESPONSES not in loose:
        return [f"{len(found)} responses, {against} gives {len(expected)}"]
    texts = []
    for number, (one, other) in enumerate(zip(found, expected), start=1):
        strict = {name for name in {*one, *other} if name not in loose}
        text = [
            *differences(
                _only(one, strict), _only(other, strict), rough, against=against, tolerance=tolerance
            ),
            *_other_kinds(_only(one, loose), _only(other, loose), against),
        ]
        texts += [f"response {number}: {each}" for each in text] if len(expected) > 1 else text
    return texts


def unexpected(
    found: Answer,
    expected: Answer,
    *,
    rough: Iterable[str] = (),
    tolerance: Mapping[str, float] | None = None,
) -> list[str]:
    """Describe which of the outputs in *expected* differ in *found*; see :func:`mismatches`."""
    named = {name for response in expected for name in response}
    found = [_only(response, named) for response in found]
    return mismatches(found, expected, rough=rough, against="expected", tolerance=tolerance)


def varying_outputs(first: Answer, second: Answer, rough: Iterable[str] = ()) -> list[str]:
    """Return the outputs in which two answers to the same request differ."""
    names = {RESPONSES} if len(first) != len(second) else set()
    for one, other in zip(first, second):
        for name in {*one, *other}:
            if differences(_only(one, {name}), _only(other, {name}), rough):
                names.add(name)
    return sorted(names)


def empty_outputs(answers: Iterable[Answer]) -> list[str]:
    """Return the outputs without values."""
    found = (item for answer in answers for response in answer for item in response.items())
    return sorted({name for name, array in found if not array.size})


def missing_outputs(config: Mapping[str, Any], answers: Iterable[Answer]) -> list[str]:
    """Return the outputs of *config* that no answer contains; a single answer may omit some.

    A decoupled model may send them in any response, or none.
    """
    if (config.get("model_transaction_policy") or {}).get("decoupled"):
        return []
    names = [one["name"] for one in config.get("output") or []]
    sent = {name for answer in answers for response in answer for name in response}
    return [name for name in names if name not in sent]


def undescribed_outputs(config: Mapping[str, Any], answers: Mapping[str, Answer]) -> list[str]:
    """Describe the outputs whose type or shape differs from *config*; a server sends them as they are."""
    texts = {}
    for label, answer in answers.items():
        for response in answer:
            for one in config.get("output") or []:
                array = response.get(one["name"])
                if array is not None and not _is_described(one, array, label, config):
                    kind = one["data_type"].replace("TYPE_", "")
                    found = "STRING" if array.dtype.kind in "OSU" else str(array.dtype)
                    batch = "batch, " if int(config.get("max_batch_size", 0)) > 0 else ""
                    dims = ", ".join(map(str, one["dims"]))
                    texts[one["name"]] = (
                        f"{one['name']} is {found}{list(array.shape)} in {titled(label)}, "
                        f"and config.pbtxt says {kind}[{batch}{dims}]"
                    )
    return list(texts.values())


def _is_described(output: Mapping[str, Any], array: Any, label: str, config: Mapping[str, Any]) -> bool:
    kind = output["data_type"]
    strings = array.dtype.kind in "OSU"
    if strings != (kind == "TYPE_STRING") or (not strings and array.dtype.name != _NUMPY.get(kind)):
        return False
    dims = list(output["dims"])
    if int(config.get("max_batch_size", 0)) > 0:
        dims = [int(label) if label.isdigit() else -1, *dims]
    return fits(dims, array.shape)


def fits(dims: Sequence[int], shape: Sequence[int]) -> bool:
    """Return whether a tensor of *shape* has the *dims* of a configuration, where -1 is any size."""
    return len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape))


def as_saved(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Return *answers* for an ``.npz`` without pickles: the number of responses by label, and arrays."""
    saved: dict[str, Any] = {f"{label}#": np.array(len(answer)) for label, answer in answers.items()}
    for label, answer in answers.items():
        for number, response in enumerate(answer):
            saved.update({f"{label}#{number}/{name}": plain(array) for name, array in response.items()})
    return saved


def as_read(arrays: Mapping[str, Any]) -> dict[str, Answer]:
    """Return the answers from the *arrays* of :func:`as_saved`."""
    answers: dict[str, Answer] = {}
    for key, array in arrays.items():
        place, _, name = key.partition("/")
        label, _, number = place.rpartition("#")
        answer = answers.setdefault(label, [])
        count = int(number) + 1 if number else int(array)
        answer.extend({} for _ in range(count - len(answer)))
        if number:
            answer[int(number)][name] = array
    return answers


def plain(array: Any) -> Any:
    """Convert an array of strings to one of fixed-length bytes, which needs no pickle and compares equal."""
    if array.dtype != object:
        return array
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1)]
    return np.array(items, dtype="S").reshape(array.shape) if items else np.empty(array.shape, "S1")


def _only(response: Response, names: Iterable[str]) -> Response:
    return {name: plain(array) for name, array in response.items() if name in names}


def _other_kinds(found: Response, expected: Response, against: str) -> list[str]:
    texts = []
    for name in sorted({*found, *expected}):
        if name not in found or name not in expected:
            texts.append(f"{name} is in only one of the answers")
            continue
        one, other = found[name], expected[name]
        if one.dtype.kind != other.dtype.kind or one.ndim != other.ndim:
            texts.append(
                f"{name} is {one.dtype}{list(one.shape)}, {against} gives {other.dtype}{list(other.shape)}"
            )
    return texts
