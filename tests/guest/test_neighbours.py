"""What a model asks of another is refused as a server refuses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envbuilder.guest.neighbours import find_fault

CONFIG = {
    "name": "echo",
    "max_batch_size": 2,
    "input": [
        {"name": "X", "data_type": "TYPE_FP32", "dims": ["3"]},
        {"name": "T", "data_type": "TYPE_STRING", "dims": ["-1"], "optional": True},
    ],
    "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": ["3"]}],
}
RIGHT = np.ones((2, 3), np.float32)
UNKNOWN = "[request id: <id_unknown>] "
CASES: list[tuple[dict[str, Any], list[str], str | None]] = [
    ({"X": RIGHT}, ["Y"], None),
    ({"X": RIGHT, "T": np.array([["a", "b"]], dtype=object)}, [], None),
    ({"X": RIGHT}, ["Z"], "unexpected inference output 'Z' for model 'echo'"),
    ({"X": RIGHT, "Q": RIGHT}, [], "unexpected inference input 'Q' for model 'echo'"),
    (
        {},
        [],
        f"{UNKNOWN}expected 2 inputs but got 0 inputs for model 'echo'. Got input(s) [], but missing required input(s) "
        "['X']. Please provide all required input(s).",
    ),
    (
        {"X": RIGHT.astype(np.int32)},
        [],
        f"{UNKNOWN}inference input 'X' data-type is 'INT32', but model 'echo' expects 'FP32'",
    ),
    (
        {"X": RIGHT[:, :2]},
        [],
        f"{UNKNOWN}unexpected shape for input 'X' for model 'echo'. Expected [-1,3], got [2,2]. ",
    ),
    (
        {"X": np.ones((3, 3), np.float32)},
        [],
        f"{UNKNOWN}inference request batch-size must be <= 2 for model 'echo'",
    ),
]
"""Texts of a server of 24.10."""


@pytest.mark.parametrize(("inputs", "wanted", "told"), CASES)
def test_a_request_that_does_not_fit_the_other_model(
    pb: Any, inputs: dict[str, Any], wanted: list[str], told: str | None
) -> None:
    assert find_fault(CONFIG, [pb.Tensor(name, array) for name, array in inputs.items()], wanted) == told
