"""Requests that are refused, tried with other values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.guest.answers import Answer
from envbuilder.verification.server.attempt import Attempt
from envbuilder.verification.server.process import RunningServer

SERVER = RunningServer(http="", grpc="", log=Path("log"), version="")


def root(_: RunningServer, __: Any, inputs: dict[str, Any]) -> Answer:
    if (inputs["x"] < 0).any():
        raise ValueError("math domain error")
    return [{"y": inputs["x"] ** 0.5}]


@pytest.mark.parametrize(
    ("values", "patience", "may_be"),
    [
        (np.full((2, 3), -1, np.float32), 60.0, True),
        (np.full((2, 3), -1, np.float16), 60.0, True),
        (np.full((2, 3), -1, np.float32), 0.0, True),  # it took too long to try others: not known
        (np.full((2, 3), -1, np.int32), 60.0, False),  # no floats
    ],
)
def test_whether_it_may_be_the_values(
    monkeypatch: pytest.MonkeyPatch, values: Any, patience: float, may_be: bool
) -> None:
    monkeypatch.setattr("envbuilder.guest.cases.PATIENCE", patience)
    attempt = Attempt(root)
    deployed: Any = None
    assert not attempt.may_be_the_values()
    with pytest.raises(ValueError, match="math domain"):
        attempt(SERVER, deployed, {"x": values})
    assert attempt.may_be_the_values() is may_be
