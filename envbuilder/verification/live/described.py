"""Find errors in a complete configuration that every server rejects, before one is started.

Sources: ``ValidateModelConfig`` and ``ValidateModelIOConfig`` of Triton core's ``model_config_utils.cc``, and
``sequence_state.cc``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.config import CONFIG
from envbuilder.util.documents import is_inside

STATE_FOLDER: Final = "initial_state"
"""Folder of a model directory for the ``data_file`` of ``initial_state``."""


def find_fault(
    config: model_config_pb2.ModelConfig, folder: Path, *, incomplete: bool = False
) -> tuple[str, str] | None:
    """Return why no server can serve the model of *config* in *folder*, and what to do; None: no error found.

    For an *incomplete* configuration, only errors that its completion cannot fix: existing fields are kept.
    """
    if config.HasField("model_repository_agents") and not config.model_repository_agents.agents:
        return "model_repository_agents is empty, which ends the server", f"remove it from {CONFIG}"
    return next(
        iter(
            (*_of_batching(config, incomplete), *_of_tensors(config, incomplete), *_of_states(config, folder))
        ),
        None,
    )


def _of_batching(config: model_config_pb2.ModelConfig, incomplete: bool) -> Iterator[tuple[str, str]]:
    most, batching = config.max_batch_size, config.dynamic_batching
    if most < 0:
        yield f"max_batch_size is {most}", f"set max_batch_size to 0 or more in {CONFIG}"
    for size in batching.preferred_batch_size:
        if not (0 < size <= most or (incomplete and most == 0)):
            text = f"dynamic_batching prefers batches of {size}, and max_batch_size is {most}"
            yield text, f"correct preferred_batch_size or max_batch_size in {CONFIG}"
    levels = batching.priority_levels
    if levels and not 0 < batching.default_priority_level <= levels:
        text = f"dynamic_batching has {levels} priority levels, and its default is {batching.default_priority_level}"
        yield text, f"set default_priority_level to one of 1 to {levels} in {CONFIG}"


def _of_tensors(config: model_config_pb2.ModelConfig, incomplete: bool) -> Iterator[tuple[str, str]]:
    for kind, fields in (("input", config.input), ("output", config.output)):
        for field in fields:
            wrong = _bad_dim(field) if incomplete else _lacking(field) or _bad_dim(field)
            if wrong:
                yield f"{kind} {field.name!r} {wrong}", f"correct it in {CONFIG}"
    for name, count in Counter(field.name for field in config.input).items():
        if count > 1:
            text = f"input {name!r} is described {count} times: no request can be sent"
            yield text, f"describe it once in {CONFIG}"
    names = {field.name for field in config.input}
    for batch in config.batch_input:
        for source in batch.source_input:
            if source not in names and not incomplete:
                text = f"batch_input has the source {source!r}, which is no input"
                yield text, f"correct source_input in {CONFIG}"


def _lacking(field: Any) -> str:
    if not field.name:
        return "has no name"
    if not field.data_type:
        return "has no data_type"
    return "" if field.dims else "has no dims"


def _bad_dim(field: Any) -> str:
    bad = next((dim for dim in field.dims if dim < 1 and dim != -1), None)
    return "" if bad is None else f"has the dimension {bad}: a server takes 1 and more, and -1 for any"


def _of_states(config: model_config_pb2.ModelConfig, folder: Path) -> Iterator[tuple[str, str]]:
    for state in config.sequence_batching.state:
        for initial in state.initial_state:
            name = initial.data_file
            if name and not (is_inside(name) and (folder / STATE_FOLDER / name).is_file()):
                text = f"initial_state of {state.input_name!r} is read from {STATE_FOLDER}/{name}, which does not exist"
                yield text, "put the file into the model directory, or use zero_data"
