"""What is tried and compiled while a model loads."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, SEED, UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_a_model_that_fails_on_what_its_configuration_describes(serve: Serve) -> None:
    serve.write(LINEAR)
    described = config(
        [field("x", "FP32", [5])], [field("y", "FP32", [3])], max_batch_size=8, parameters=UNCOMPILED
    )
    assert serve.error(described) == (
        "the model fails on an input of zeros as the configuration describes it: "
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x5 and 4x3) (model.py, line 10)"
    )


def test_a_model_that_fails_on_another_batch_size(serve: Serve) -> None:
    serve.write("def f(x):\n    assert x.shape[0] != 1, 'one row'\n    return x[:, :3]\n")
    assert serve.error(simple()) == (
        "the model fails on a batch of 1: AssertionError: one row (model.py, line 2)"
    )


def test_where_only_our_guess_of_sizes_may_be_wrong_the_model_is_served(serve: Serve) -> None:
    serve.write("def f(x):\n    assert x.shape[1] % 7 == 0\n    return x[:, :3]\n")
    described = config(
        [field("x", "FP32", [-1])], [field("y", "FP32", [3])], max_batch_size=8, parameters=UNCOMPILED
    )
    serve.load(described)
    assert serve.warnings() == [
        "net: not warmed, the first requests will compile; the model fails on guessed sizes: AssertionError "
        '(model.py, line 2); say WARMUP: {"dims": {...}} for x'
    ]
    described["parameters"]["WARMUP"] = {"string_value": '{"dims": {"x": [14]}}'}
    serve.pb.Logger.lines.clear()
    serve.load(described)
    assert serve.warnings() == []


GENERATOR = np.random.default_rng(0)


def x(size: int) -> Any:
    return GENERATOR.normal(size=(size, 4)).astype(np.float32)


def compiled(**options: Any) -> dict[str, Any]:
    return simple(**{SEED: json.dumps({"backend": "aot_eager", **options})})


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def test_compiling_can_be_disabled(serve: Serve) -> None:
    serve.write(LINEAR)
    before = graphs()
    model = serve.load(compiled(disable=True))
    assert graphs() == before
    assert model.infer(x=x(2))["y"].shape == (2, 3)


def test_static_shapes_are_all_warmed(serve: Serve) -> None:
    serve.write(LINEAR)
    before = graphs()
    model = serve.load(compiled(dynamic=False))
    assert graphs() - before == 8
    for size in range(1, 9):
        model.infer(x=x(size))
    assert graphs() - before == 8


def test_a_compiler_that_fails(serve: Serve) -> None:
    serve.write(LINEAR)
    config = simple(**{SEED: '{"backend": "not_there"}'})
    told = (
        "torch.compile failed: InvalidBackend: Invalid backend: 'not_there', see "
        "`torch._dynamo.list_backends()` for available backends."
    )
    assert serve.error(config) == f'{told}; COMPILE_FALLBACK: "eager" serves it uncompiled'
    config["parameters"]["COMPILE_FALLBACK"] = {"string_value": "eager"}
    serve.pb.Logger.lines.clear()
    model = serve.load(config)
    assert serve.warnings()[-1] == f"net: {told}; served uncompiled"
    assert model.infer(x=x(2))["y"].shape == (2, 3)
