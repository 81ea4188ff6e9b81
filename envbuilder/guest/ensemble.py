"""An ensemble: models that feed each other, as ``ensemble_scheduling`` of a configuration says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .answers import Answer


def run_ensemble(
    config: dict[str, Any],
    inputs: dict[str, Any],
    ask: Callable[[str, dict[str, Any], list[str]], Answer],
    wanted: list[str],
) -> dict[str, Any]:
    """Run the steps whose inputs are there until none is left; return the outputs that are *wanted*, or all.

    Args:
        config: of the ensemble.
        inputs: arrays by name.
        ask: returns the responses of a model, given its name, its inputs, and the requested outputs.
        wanted: names of outputs.
    """
    values, steps = dict(inputs), list(config["ensemble_scheduling"]["step"])
    while steps:
        able = [step for step in steps if all(source in values for source in step["input_map"].values())]
        if not able:
            break
        for step in able:
            steps.remove(step)
            given = {name: values[source] for name, source in step["input_map"].items()}
            (answer, *_) = ask(step["model_name"], given, list(step["output_map"]))
            values.update({target: answer[name] for name, target in step["output_map"].items()})
    names = wanted or [output["name"] for output in config["output"]]
    return {name: values[name] for name in names}
