"""What a verified model is asked: inputs made from its configuration, the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from envbuilder.deployment.config import CONFIG
from envbuilder.errors import VerifyError
from envbuilder.guest.answers import Answer, as_read
from envbuilder.guest.bfloat16 import from_bits, to_bits
from envbuilder.guest.cases import packed, titled
from envbuilder.util.text import human

Inputs = dict[str, np.ndarray[Any, Any]]
MOST: Final = 2**30
"""Bytes of a request: this process and the one that is asked hold it in memory."""
WITHOUT_OPTIONAL: Final = "a request without the optional inputs"
"""Clients may leave them out."""
_SIZES: Final = (1, 2, 3, 5, 8, 13, 21, 32, 64, 128)
"""Batch sizes of a sweep, up to ``max_batch_size``, which is swept too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One request."""

    label: str
    """Its number of rows, or what it is called: ``step 2``. Nothing else has the same; no ``/``, ``#`` or ``*``."""
    inputs: Inputs
    expected: tuple[Inputs, ...] = ()
    """The responses that must come, as far as they are known."""

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return titled(self.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What a model is asked."""

    cases: tuple[Case, ...]
    source: str
    """Where the inputs come from, in words."""
    made_up: bool = True
    """Whether nobody said that the model takes such inputs."""
    tolerance: Mapping[str, float] | None = None
    """``rtol`` and ``atol`` for what is expected; None: the usual ones."""

    narrow: bool = False
    """Whether a model may take some inputs of these kinds and refuse others: strings, numbers that count, sizes that
    vary. Of floats some are tried, see :func:`envbuilder.guest.cases.is_the_inputs_fault`."""
    names: tuple[str, ...] = ()
    """Of the inputs."""

    def how_to_give(self) -> str:
        """Say how to give inputs that the model takes."""
        arrays = ", ".join(f"{name}=…" for name in self.names)
        return (
            f"give inputs that the model accepts: `--inputs FILE.npz`, from `numpy.savez('FILE.npz', {arrays})`, "
            f"or a `model_warmup` with `input_data_file` in {CONFIG}; or `verify: {{inputs: FILE}}` in the recipe"
        )

    @property
    def few(self) -> tuple[Case, ...]:
        """Some of the requests: all that are no batches, and of those the first, the last, and one between."""
        batches = [case for case in self.cases if case.label.isdigit()]
        last = len(batches) - 1
        few = {batches[number].label for number in (0, (last + 1) // 2, last)} if batches else set()
        return tuple(case for case in self.cases if case.label in few or not case.label.isdigit())


NOT_ASKED: Final = Questions(cases=(), source="")
"""Of a model whose configuration may be incomplete yet: what it is asked is made up once that is complete."""


def labels_in_words(labels: Sequence[str]) -> str:
    """Return the requests of *labels* in words: ``batches of 1, 8``."""
    sizes, others = [one for one in labels if one.isdigit()], [one for one in labels if not one.isdigit()]
    return ", ".join([*others, *([f"batches of {', '.join(sizes)}"] if sizes else [])])


def made_up(config: model_config_pb2.ModelConfig) -> Questions:
    """Return requests for *config*'s model whose values are made up, the same on every machine.

    Batches of more than :data:`MOST` are left out.

    Raises:
        VerifyError: a single one has more.
    """
    sizes = batch_sizes(config)
    for size in sizes:
        total = sum(
            array_size(data_type(field), [size, *_dims(field)], f"input {field.name!r}")
            for field in config.input
        )
        if total > MOST:
            sizes = [one for one in sizes if one < size]
            break
    if not sizes:
        raise VerifyError(
            f"{CONFIG} describes a request of more than {human(MOST)}",
            hint="correct dims there, or give smaller inputs with --inputs FILE",
        )
    cases = [Case(label=str(size), inputs=make_inputs(config, size)) for size in sizes]
    names = [field.name for field in config.input]
    # No request is empty: of inputs that are all optional, the first is sent.
    sent = [field.name for field in config.input if not field.optional] or names[:1]
    if len(sent) < len(names):  # the first of the batches stays the first
        inputs = {name: array for name, array in cases[0].inputs.items() if name in sent}
        cases.insert(1, Case(label=WITHOUT_OPTIONAL, inputs=inputs))
    kinds = {data_type(field) for field in config.input}
    return Questions(
        cases=tuple(cases),
        source=f"made up from {CONFIG}",
        narrow=any(kind not in ("FP16", "FP32", "FP64", "BF16", "BOOL") for kind in kinds)
        or any(-1 in field.dims for field in config.input),
        names=tuple(names),
    )


def batch_sizes(config: model_config_pb2.ModelConfig) -> list[int]:
    """Return the batch sizes to ask *config*'s model for; ``[1]`` where it takes no batches, or sequences."""
    most = 1 if config.HasField("sequence_batching") else int(config.max_batch_size)
    return sorted({size for size in _SIZES if size < most} | {most}) if most > 0 else [1]


def make_inputs(config: model_config_pb2.ModelConfig, size: int) -> Inputs:
    """Return an input for each of *config*'s inputs, *size* rows where it takes batches."""
    random = np.random.default_rng(size)
    inputs = {}
    for field in config.input:
        dims = _dims(field)
        shape = [size, *dims] if config.max_batch_size > 0 else dims
        inputs[field.name] = random_values(random, data_type(field), shape)
    return inputs


def _dims(field: Any) -> list[int]:
    return [36 + 8 * axis if dim == -1 else int(dim) for axis, dim in enumerate(field.dims)]


def array_size(kind: str, shape: Sequence[int], what: str) -> int:
    """Return how many bytes an array takes; *what* it is for stands in errors.

    Raises:
        VerifyError: there is no such array.
    """
    dtype = np.float32 if kind == "BF16" else triton_to_np_dtype(kind)
    if dtype is None or any(size < 0 for size in shape):
        raise VerifyError(
            f"{CONFIG}: {what} is {kind}{[*shape]}, which is not a valid tensor",
            hint="correct data_type or dims there",
        )
    return math.prod(shape) * np.dtype(dtype).itemsize


def data_type(field: Any) -> str:
    """Return ``FP32`` for a field whose ``data_type`` is ``TYPE_FP32``; ``BYTES`` for strings."""
    name = str(model_config_pb2.DataType.Name(field.data_type)).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def stub_config(config: model_config_pb2.ModelConfig) -> dict[str, Any]:
    """Return *config* as the JSON that Triton gives a Python model: field names as written, integers as numbers."""
    data: dict[str, Any] = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _number(config, data)
    return data


def config_of(data: Mapping[str, Any]) -> model_config_pb2.ModelConfig:
    """Return the configuration that the JSON *data* of a model says.

    Raises:
        json_format.ParseError: it says none.
    """
    config = model_config_pb2.ModelConfig()
    json_format.ParseDict(dict(data), config, ignore_unknown_fields=True)
    return config


def _number(message: Any, data: dict[str, Any]) -> None:
    """Turn the 64-bit integers of *message*, which protobuf's JSON has as strings, into numbers."""
    for field in message.DESCRIPTOR.fields:
        value = data.get(field.name)
        if value is None:
            continue
        if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
            data[field.name] = [int(one) for one in value] if isinstance(value, list) else int(value)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, one in getattr(message, field.name).items():
                if hasattr(one, "DESCRIPTOR"):
                    _number(one, value[str(key)])
        elif field.message_type is not None:
            ones = getattr(message, field.name)
            for one, record in zip(ones, value, strict=True) if isinstance(value, list) else [(ones, value)]:
                _number(one, record)


def random_values(random: np.random.Generator, kind: str, shape: list[int]) -> np.ndarray[Any, Any]:
    """Return values of a *kind* that nearly every model takes."""
    if kind == "BYTES":
        return np.full(shape, b"envbuilder", dtype=object)
    if kind == "BOOL":
        return random.random(shape) < 0.5
    if kind == "BF16":
        return np.asarray(from_bits(to_bits(random.standard_normal(shape))))
    dtype = np.dtype(triton_to_np_dtype(kind))
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)  # 0 and 1 are indexes into anything


def save(path: Path, cases: Iterable[Case]) -> None:
    """Write requests as the probe reads them (:mod:`envbuilder.guest.cases`)."""
    arrays: dict[str, Any] = {
        key: array
        for case in cases
        for name, value in case.inputs.items()
        for key, array in [packed(case.label, name, value)]
    }
    np.savez(path, **arrays)


def load(path: Path) -> dict[str, Answer]:
    """Read what the probe answered, by the labels of the requests."""
    with np.load(path) as data:
        return as_read({key: data[key] for key in data.files})
