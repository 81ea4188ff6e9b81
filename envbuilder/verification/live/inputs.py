"""Requests for a verified model: inputs generated from its configuration, the same on every machine."""

from __future__ import annotations

import json
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
"""Largest request, in bytes: this process and the serving one hold it in memory."""
TEXT: Final = "envbuilder"
"""The text of generated strings."""
WITHOUT_OPTIONAL: Final = "a request without the optional inputs"
"""The label of a request without the inputs that clients may omit."""
_SIZES: Final = (1, 2, 3, 5, 8, 13, 21, 32, 64, 128)
"""Batch sizes of a sweep, up to ``max_batch_size``, which is included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One request."""

    label: str
    """Its number of rows, or a name such as ``step 2``. Unique; without ``/``, ``#`` and ``*``."""
    inputs: Inputs
    expected: tuple[Inputs, ...] = ()
    """The expected responses, if known."""

    @property
    def title(self) -> str:
        """Its name in a message."""
        return titled(self.label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """The requests of a model."""

    cases: tuple[Case, ...]
    source: str
    """The source of the inputs, for messages."""
    made_up: bool = True
    """Whether the inputs were generated, so that the model may not accept them."""
    tolerance: Mapping[str, float] | None = None
    """``rtol`` and ``atol`` for expected outputs; None: the defaults."""

    narrow: bool = False
    """Whether a model may accept some inputs of these types and reject others: strings, integers, variable sizes.
    For floats, several values are tried, see :func:`envbuilder.guest.cases.may_be_the_inputs_fault`."""
    names: tuple[str, ...] = ()
    """The names of the inputs."""

    def how_to_give(self) -> str:
        """Return how to provide inputs that the model accepts."""
        arrays = ", ".join(f"{name}=…" for name in self.names)
        return (
            f"give inputs that the model accepts: `--inputs FILE.npz`, from `numpy.savez('FILE.npz', {arrays})`, "
            f"or a `model_warmup` with `input_data_file` in {CONFIG}; or `verify: {{inputs: FILE}}` in the recipe"
        )

    @property
    def few(self) -> tuple[Case, ...]:
        """A sample of the requests: all without batches; of batches the first, the last, and one between."""
        batches = [case for case in self.cases if case.label.isdigit()]
        last = len(batches) - 1
        few = {batches[number].label for number in (0, (last + 1) // 2, last)} if batches else set()
        return tuple(case for case in self.cases if case.label in few or not case.label.isdigit())


NOT_ASKED: Final = Questions(cases=(), source="")
"""For a model whose configuration may still be incomplete: requests are generated once it is complete."""


def labels_in_words(labels: Sequence[str]) -> str:
    """Describe the requests of *labels*: ``batches of 1, 8``."""
    sizes, others = [one for one in labels if one.isdigit()], [one for one in labels if not one.isdigit()]
    return ", ".join([*others, *([f"batches of {', '.join(sizes)}"] if sizes else [])])


def made_up(config: model_config_pb2.ModelConfig) -> Questions:
    """Return generated requests for the model of *config*, the same on every machine.

    Batches of more than :data:`MOST` are left out.

    Raises:
        VerifyError: even a batch of one has more.
    """
    sizes = batch_sizes(config)
    for size in sizes:
        total = sum(
            array_size(data_type(field), [size, *_dims(field, config)], f"input {field.name!r}")
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
    # A request cannot be empty: if all inputs are optional, the first is sent.
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
    """Return the batch sizes for the model of *config*; ``[1]`` if it takes no batches, or sequences."""
    most = 1 if config.HasField("sequence_batching") else int(config.max_batch_size)
    return sorted({size for size in _SIZES if size < most} | {most}) if most > 0 else [1]


def make_inputs(config: model_config_pb2.ModelConfig, size: int) -> Inputs:
    """Return an array for each input of *config*, with *size* rows if it takes batches."""
    random = np.random.default_rng(size)
    inputs = {}
    for field in config.input:
        dims = _dims(field, config)
        shape = [size, *dims] if config.max_batch_size > 0 else dims
        inputs[field.name] = random_values(random, data_type(field), shape)
    return inputs


def _dims(field: Any, config: model_config_pb2.ModelConfig) -> list[int]:
    """Return the dims of a request: those that WARMUP names, as the model may accept no others, else made-up ones."""
    warm = _warmup_dims(config).get(field.name)
    if isinstance(warm, list) and len(warm) == len(field.dims):
        pairs = list(zip(warm, field.dims, strict=True))
        if all(type(size) is int and size > 0 and dim in (-1, size) for size, dim in pairs):
            return warm
    return [36 + 8 * axis if dim == -1 else int(dim) for axis, dim in enumerate(field.dims)]


def _warmup_dims(config: model_config_pb2.ModelConfig) -> dict[str, Any]:
    """Return the first sizes that the parameter WARMUP names, by input; if it is invalid, the runtime says so."""
    try:
        found = json.loads(config.parameters["WARMUP"].string_value) if "WARMUP" in config.parameters else {}
    except (ValueError, RecursionError):
        return {}
    dims = found.get("dims") if isinstance(found, dict) else None
    first = dims[0] if isinstance(dims, list) and dims else dims
    return first if isinstance(first, dict) else {}


def array_size(kind: str, shape: Sequence[int], what: str) -> int:
    """Return the size of an array in bytes; *what* names it in errors.

    Raises:
        VerifyError: such an array cannot exist.
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
    """Parse the JSON *data* of a model as a configuration.

    Raises:
        json_format.ParseError: it is not a configuration.
    """
    config = model_config_pb2.ModelConfig()
    json_format.ParseDict(dict(data), config, ignore_unknown_fields=True)
    return config


def _number(message: Any, data: dict[str, Any]) -> None:
    """Convert the 64-bit integers of *message*, which protobuf's JSON writes as strings, to numbers."""
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
    """Return values of a *kind* that nearly every model accepts."""
    if kind == "BYTES":
        return np.full(shape, TEXT.encode(), dtype=object)
    if kind == "BOOL":
        return random.random(shape) < 0.5
    if kind == "BF16":
        return np.asarray(from_bits(to_bits(random.standard_normal(shape))))
    dtype = np.dtype(triton_to_np_dtype(kind))
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)  # 0 and 1 are valid indexes into anything


def save(path: Path, cases: Iterable[Case]) -> None:
    """Write requests in the probe's format (:mod:`envbuilder.guest.cases`)."""
    arrays: dict[str, Any] = {
        key: array
        for case in cases
        for name, value in case.inputs.items()
        for key, array in [packed(case.label, name, value)]
    }
    np.savez(path, **arrays)


def load(path: Path) -> dict[str, Answer]:
    """Read the probe's outputs by the labels of the requests."""
    with np.load(path) as data:
        return as_read({key: data[key] for key in data.files})
