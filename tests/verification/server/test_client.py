from __future__ import annotations

from typing import Any

import numpy as np

from envbuilder.verification.server import client


class Result:
    """An answer as tritonclient has it when a stub sends the shape and no bytes."""

    def as_numpy(self, name: str) -> Any:
        return np.frombuffer(b"", np.float32).reshape(1, 16)


def test_the_clients_refusal_of_an_empty_answer_is_one() -> None:
    assert client.array_of(Result(), "y").size == 0
