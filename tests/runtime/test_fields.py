"""Inputs and outputs as the configuration describes them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.requests import arrays, ask
from tests.helpers.runtime import UNCOMPILED, config, field
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_the_models_shape_is_the_reshaped_one(serve: Serve) -> None:
    serve.write("def f(x):\n    return x.sum(-1)\n")
    inputs = [field("x", "FP32", [4], reshape={"shape": [2, 2]})]
    outputs = [field("y", "FP32", [2], reshape={"shape": [2]})]
    serve.load(config(inputs, outputs, max_batch_size=8, parameters=UNCOMPILED))
    (answer,) = ask(serve, {"x": np.ones((1, 2, 2), np.float32)})
    assert arrays(answer)["y"].tolist() == [[2.0, 2.0]]
