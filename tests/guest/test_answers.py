from __future__ import annotations

import numpy as np

from envbuilder.guest.answers import missing_outputs, unexpected

ONE, TWO = np.ones(1, np.float32), np.full(1, 2, np.float32)
CONFIG = {"output": [{"name": "y"}, {"name": "w"}]}


def test_an_output_that_some_answers_have_is_not_missing() -> None:
    assert missing_outputs(CONFIG, [[{"y": ONE}], [{"y": ONE, "w": ONE}]]) == []
    assert missing_outputs(CONFIG, [[{"y": ONE}], [{"y": TWO}]]) == ["w"]
    decoupled = {**CONFIG, "model_transaction_policy": {"decoupled": True}}
    assert missing_outputs(decoupled, [[]]) == []


def test_only_what_is_expected_is_compared() -> None:
    found = [{"y": ONE, "w": TWO}]
    assert unexpected(found, [{"y": ONE}]) == []
    assert unexpected(found, [{"y": TWO}]) != []
    assert unexpected(found, [{"z": ONE}]) != []
    assert unexpected(found, [{"y": ONE}, {"y": ONE}]) == ["1 responses, expected gives 2"]
    assert unexpected([{"y": ONE + 0.1}], [{"y": ONE}], tolerance={"atol": 0.2, "rtol": 0.0}) == []
