"""Run an ensemble: models connected by ``ensemble_scheduling`` of a configuration."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from .answers import Answer

LATEST = -1
"""The version of a request that names none. A step of an ensemble that names none means version 0, as protobuf does."""


def run_ensemble(
    config: dict[str, Any],
    inputs: dict[str, Any],
    ask: Callable[..., Answer],
    wanted: list[str],
) -> Answer:
    """Run the steps as their inputs become available; return responses with the *wanted* outputs.

    If a step is decoupled, so is the ensemble: later steps run for each of its responses.

    Args:
        config: the ensemble's configuration.
        inputs: arrays by name.
        ask: returns the responses of a model, given its name, its inputs, the requested outputs, and its ``version``.
        wanted: names of outputs; none: all.
    """
    names = wanted or [output["name"] for output in config["output"]]
    ended = _run(list(config["ensemble_scheduling"]["step"]), dict(inputs), ask)
    return [{name: _value(values, name) for name in names} for values in ended]


def _run(
    steps: list[dict[str, Any]],
    values: dict[str, Any],
    ask: Callable[..., Answer],
) -> Iterator[dict[str, Any]]:
    """Yield the final tensors, once for each response that results from *values*."""
    able = [step for step in steps if all(source in values for source in step["input_map"].values())]
    if not able:
        yield values
        return
    answers = []
    for step in able:
        given = {name: values[source] for name, source in step["input_map"].items()}
        version = int(step.get("model_version", LATEST))
        responses = ask(step["model_name"], given, list(step["output_map"]), version=version)
        # A response without outputs only marks the end.
        answers.append([_renamed(one, step["output_map"]) for one in responses if one])
    left = [step for step in steps if step not in able]
    for together in itertools.product(*answers):
        more = {name: value for response in together for name, value in response.items()}
        yield from _run(left, {**values, **more}, ask)


def _renamed(response: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {target: _value(response, name) for name, target in names.items()}


def _value(values: dict[str, Any], name: str) -> Any:
    if name not in values:
        raise RuntimeError(f"no step of the ensemble gives {name!r}")
    return values[name]
