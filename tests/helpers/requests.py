"""Requests for a model behind the stand-in for Triton's module, and what was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.runtime.conftest import Serve


def rows(*sizes: int) -> list[Any]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(size, 4)).astype(np.float32) for size in sizes]


def as_sent(data: Any) -> Any:
    """Return *data* as a server hands it on: strings are bytes by then."""
    if data.dtype != object:
        return data
    sent = np.empty(data.size, dtype=object)
    sent[:] = [one.encode() if isinstance(one, str) else one for one in data.reshape(-1)]
    return sent.reshape(data.shape)


def ask(serve: Serve, *inputs: dict[str, Any], outputs: tuple[str, ...] = ()) -> list[Any]:
    """Ask several requests at once of the model that was loaded last; errors come as their text."""
    pb = serve.pb
    requests = [
        pb.InferenceRequest(
            inputs=[pb.Tensor(name, as_sent(data)) for name, data in values.items()],
            requested_output_names=outputs,
            model_name="m",
        )
        for values in inputs
    ]
    answers = []
    for response in serve.models[-1].execute(requests):
        if response.has_error():
            answers.append(response.error().message())
        else:
            answers.append({tensor.name(): tensor for tensor in response.output_tensors()})
    return answers


def arrays(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.as_numpy() for name, tensor in answer.items()}


COUNTED = """
import torch
CALLS = []

def f(x):
    CALLS.append(list(x.shape))
    return x[..., :3] * 2
"""


def calls(serve: Serve) -> Any:
    return serve.models[-1].instance.engine.model.eager.__globals__["CALLS"]
