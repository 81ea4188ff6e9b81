"""Choose the requests for a model: the user's inputs, its own warm-up, or generated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from envbuilder.deployment.config import CONFIG
from envbuilder.errors import VerifyError
from envbuilder.guest.answers import fits
from envbuilder.util.documents import is_inside
from envbuilder.util.files import read_regular
from envbuilder.util.text import human, listed
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.input_files import (
    bytes_as_tensor,
    read_expected,
    read_inputs,
    validation_of,
)
from envbuilder.verification.live.inputs import Case, Inputs, Questions

_NOT_LOADED: Final = f"a server does not load the model: correct model_warmup in {CONFIG}"
WARMUP_FOLDER: Final = "warmup"
"""The folder of a model directory for ``input_data_file``."""


def questions_for(
    config: model_config_pb2.ModelConfig,
    folder: Path,
    *,
    inputs: Path | None = None,
    expected: Path | None = None,
    tolerance: Mapping[str, float] | None = None,
) -> Questions:
    """Return the requests for the model of *config* in *folder*.

    Raises:
        VerifyError: *inputs*, *expected* or a file of its warm-up cannot be used.
    """
    if inputs is not None:
        given = read_inputs(inputs, config)
        for number, one in enumerate(given, 1):
            _check_rows(one, config, f"{inputs}: step {number}" if len(given) > 1 else str(inputs))
        answers = validation_of(inputs, config) if expected is None else read_expected(expected, config)
        if answers and len(answers) != len(given):
            raise VerifyError(
                f"{expected or inputs} has {len(answers)} answers, and {inputs} has {len(given)} requests",
                hint="give an expected answer for each request",
            )
        steps = [
            (f"step {number}" if len(given) > 1 else inputs.name, one) for number, one in enumerate(given, 1)
        ]
        asked = _asked(config, steps, str(inputs))
        cases = [
            replace(case, expected=(answers[number],)) if number < len(answers) else case
            for number, case in enumerate(asked.cases)
        ]
        return replace(asked, cases=tuple(cases), tolerance=tolerance)
    warm = [
        (warm.name or f"warm-up {number}", _warm_up(warm, config, folder))
        for number, warm in enumerate(config.model_warmup, 1)
    ]
    if warm:
        return _asked(config, warm, f"model_warmup of {CONFIG}")
    return sample.made_up(config)


def _check_rows(inputs: Inputs, config: model_config_pb2.ModelConfig, where: str) -> None:
    """Refuse a request that every server refuses, whatever the model does with it."""
    most = int(config.max_batch_size)
    rows = {name: len(array) for name, array in inputs.items()} if most > 0 else {}
    if len(set(rows.values())) > 1:
        counts = listed([f"{name} has {count}" for name, count in rows.items()], "and")
        raise VerifyError(
            f"{where}: the inputs have different numbers of rows: {counts}",
            hint="the first dim is the batch: give all inputs of a request the same number of rows",
        )
    if max(rows.values(), default=0) > most:
        raise VerifyError(
            f"{where} is a batch of {max(rows.values())}, and max_batch_size is {most}",
            hint=f"give at most {most} rows in a request, or correct max_batch_size in {CONFIG}",
        )


def _asked(config: model_config_pb2.ModelConfig, steps: list[tuple[str, Inputs]], source: str) -> Questions:
    """Return the requests *steps*, and batches of other sizes from the rows of the first."""
    labels: dict[str, Inputs] = {}
    for label, inputs in steps:
        name = "".join("-" if letter in "/#*" else letter for letter in label)
        name = f"request {name}" if name.isdigit() else name
        while name in labels:
            name += "'"
        labels[name] = inputs
    first = next(iter(labels.values()))
    rows = {len(array) for array in first.values()}
    if config.max_batch_size > 0 and len(rows) == 1 and rows != {0}:
        for size in sample.batch_sizes(config):
            if size != max(rows):
                labels[str(size)] = {
                    name: array[np.arange(size) % len(array)] for name, array in first.items()
                }
    return Questions(
        cases=tuple(Case(label=label, inputs=inputs) for label, inputs in labels.items()),
        source=source,
        made_up=False,
        names=tuple(field.name for field in config.input),
    )


def _warm_up(warm: Any, config: model_config_pb2.ModelConfig, folder: Path) -> Inputs:
    """Return the request of a ``model_warmup``, as the server creates it."""
    random = np.random.default_rng(0)
    inputs = {}
    for name, given in warm.inputs.items():
        kind, dims = sample.data_type(given), [int(dim) for dim in given.dims]
        which = given.WhichOneof("input_data_type")
        what, rows = f"model_warmup {warm.name!r}: input {name!r}", max(1, warm.batch_size)
        _check_warm_up(name, kind, dims, rows, config, what)
        if sample.array_size(kind, [rows, *dims], what) > sample.MOST:
            raise VerifyError(
                f"{CONFIG}: {what} has more than {human(sample.MOST)}", hint="correct its dims, or batch_size"
            )
        if which == "input_data_file":
            if not is_inside(given.input_data_file):
                raise VerifyError(
                    f"{CONFIG}: {what}: {given.input_data_file!r} is not a file of the folder {WARMUP_FOLDER}",
                    hint="the server reads it from there",
                )
            file = f"{WARMUP_FOLDER}/{given.input_data_file}"
            try:
                data = read_regular(folder / file, most=sample.MOST)
                if kind != "BYTES":  # the server reads the beginning of a longer file
                    data = data[: sample.array_size(kind, dims, what) // (2 if kind == "BF16" else 1)]
                array = bytes_as_tensor(data, kind, dims)
            except OSError as error:
                raise VerifyError(
                    f"{what}: {file} cannot be read: {error.strerror}",
                    hint="a server does not load the model without it: put it there in the model directory, or correct "
                    f"model_warmup in {CONFIG}",
                ) from None
            except ValueError as error:
                raise VerifyError(
                    f"{what}: {file} is not {kind}{dims}: {error}",
                    hint="expected the tensor's bytes, little-endian; each string after its length in 4 bytes",
                ) from None
        elif which == "random_data" and kind != "BYTES":
            array = sample.random_values(random, kind, dims)
        else:
            array = _zeros(kind, dims)
        if config.max_batch_size > 0:
            array = np.repeat(array[np.newaxis], rows, axis=0)
        inputs[name] = array
    missing = [field.name for field in config.input if field.name not in inputs and not field.optional]
    if missing:
        raise VerifyError(f"model_warmup {warm.name!r} has no input {missing[0]!r}", hint=_NOT_LOADED)
    return inputs


def _check_warm_up(
    name: str, kind: str, dims: list[int], rows: int, config: model_config_pb2.ModelConfig, what: str
) -> None:
    """Refuse a warm-up with which a server does not load the model."""
    if 0 < config.max_batch_size < rows:
        raise VerifyError(f"{what} has a batch of {rows}, more than max_batch_size", hint=_NOT_LOADED)
    for field in config.input:
        wanted = [int(dim) for dim in field.dims]
        if field.name == name and not (fits(wanted, dims) and kind == sample.data_type(field)):
            said = f"{sample.data_type(field)}{wanted}"
            raise VerifyError(f"{what} is {kind}{dims}, and the model has {said}", hint=_NOT_LOADED)


def _zeros(kind: str, dims: list[int]) -> np.ndarray[Any, Any]:
    if kind == "BYTES":
        return np.full(dims, b"", dtype=object)
    return np.zeros(dims, np.float32 if kind == "BF16" else triton_to_np_dtype(kind))
