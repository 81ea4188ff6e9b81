"""Models that feed each other, one of which may send any number of responses."""

from __future__ import annotations

from typing import Any

import pytest

from envbuilder.guest.answers import Answer
from envbuilder.guest.ensemble import run_ensemble


def step(model: str, source: str, target: str) -> dict[str, Any]:
    more = {"model_version": 5} if model == "other" else {}
    return {"model_name": model, **more, "input_map": {"x": source}, "output_map": {"y": target}}


def ensemble(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"ensemble_scheduling": {"step": list(steps)}, "output": [{"name": "out"}]}


def ask(name: str, inputs: dict[str, Any], wanted: list[str], *, version: int) -> Answer:
    assert wanted == ["y"]
    assert version == (5 if name == "other" else -1)
    x = inputs["x"]
    found: dict[str, Answer] = {
        "add": [{"y": x + 1}],
        "tick": [{"y": x + 10 * number} for number in range(3)] + [{}],
        "silent": [{}],
        "other": [{"z": x}],
    }
    return found[name]


@pytest.mark.parametrize(
    ("steps", "answer"),
    [
        ([step("add", "in", "out")], [1]),
        ([step("add", "once", "out"), step("add", "in", "once")], [2]),
        ([step("tick", "in", "out")], [0, 10, 20]),
        ([step("tick", "in", "once"), step("add", "once", "out")], [1, 11, 21]),
        ([step("tick", "in", "once"), step("tick", "once", "out")], [0, 10, 20, 10, 20, 30, 20, 30, 40]),
        ([step("tick", "in", "out"), step("add", "in", "beside")], [0, 10, 20]),
        ([step("silent", "in", "out")], []),
        ([step("silent", "in", "once"), step("add", "once", "out")], []),
    ],
)
def test_the_responses_of_an_ensemble(steps: list[dict[str, Any]], answer: list[int]) -> None:
    assert run_ensemble(ensemble(*steps), {"in": 0}, ask, []) == [{"out": value} for value in answer]


def test_a_step_without_a_version_means_version_0_on_a_server() -> None:
    asked: list[int] = []

    def noting(*_: Any, version: int) -> Answer:
        asked.append(version)
        return [{"y": 1}]

    for version in (0, -1, 3):
        run_ensemble(ensemble({**step("add", "in", "out"), "model_version": version}), {"in": 0}, noting, [])
    assert asked == [0, -1, 3]


def test_an_output_that_no_step_gives() -> None:
    for config in (ensemble(step("add", "elsewhere", "out")), ensemble(step("other", "in", "out"))):
        with pytest.raises(RuntimeError, match="no step of the ensemble gives"):
            run_ensemble(config, {"in": 0}, ask, [])
