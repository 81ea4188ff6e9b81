from __future__ import annotations

from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

from envbuilder.verification.server import client


class Result:
    """An answer as tritonclient has it when a stub sends the shape and no bytes."""

    def as_numpy(self, name: str) -> Any:
        return np.frombuffer(b"", np.float32).reshape(1, 16)


def test_the_clients_refusal_of_an_empty_answer_is_one() -> None:
    assert client.array_of(Result(), "y").size == 0


def test_bfloat16_is_float32_whatever_the_client_has_it_as() -> None:
    class Half:
        def as_numpy(self, name: str) -> Any:
            return np.array([1.5, -2], triton_to_np_dtype("BF16"))

    array = client.array_of(Half(), "y")
    assert (array.dtype.name, array.tolist()) == ("float32", [1.5, -2])
