"""What a model in half precision would answer in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.linear import X, expected, state
from tests.helpers.runtime import LINEAR, load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


def exact(model: Any) -> dict[str, Any] | None:
    found: dict[str, Any] | None = load_runtime().runtime_module("half").half_as_float32(model, [X])
    return found


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_answers_are_those_of_float32(serve: Serve, linear: torch.nn.Linear, dtype: str) -> None:
    with torch.no_grad():  # so that rounding is told from the weights' own
        for parameter in linear.parameters():
            parameter.copy_(parameter.to(getattr(torch, dtype)))
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    model = serve.load(simple(DTYPE=dtype)).instance.engine.model
    with torch.no_grad():
        found = exact(model)
    assert found is not None
    assert found["y"].dtype == np.float32
    rounded = model.result(model.eager, model.tensors([X]))[0].detach().float().numpy()
    inputs = torch.from_numpy(X).to(getattr(torch, dtype)).float()
    with torch.no_grad():
        np.testing.assert_allclose(found["y"], linear(inputs).numpy(), rtol=1e-6, atol=1e-7)
    assert (found["y"] != rounded).any(), "or it would measure nothing"
    assert next(model.eager.parameters()).dtype is getattr(torch, dtype), "the model stays as it is"


def test_a_model_in_float32_needs_no_measure(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    served = serve.load(simple())
    assert exact(served.instance.engine.model) is None
    np.testing.assert_allclose(served.infer(x=X)["y"], expected(linear), rtol=1e-6)


def test_a_function_has_no_weights(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3]\n")
    assert exact(serve.load(simple()).instance.engine.model) is None
