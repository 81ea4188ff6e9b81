"""What is exported of a model: its sets of inputs, and the sizes that vary."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.runtime import LINEAR, UNCOMPILED, config, field, load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),  # torch's own
]


@pytest.mark.parametrize(
    ("optional", "expected"),
    [
        ([False, False], [[True, True]]),
        ([False, True], [[True, True], [True, False]]),
        ([True, True], [[True, True], [True, False], [False, True], [False, False]]),
        ([False, True, True, True], [[True] * 4, [True, False, False, False]]),
    ],
)
def test_inputs_that_may_be_there_together(pb: Any, optional: list[bool], expected: list[list[bool]]) -> None:
    module = load_runtime().runtime_module
    fields = [module("fields").Field("x", "FP32", (1,), one) for one in optional]
    assert module("export").presences(fields) == expected


def test_the_batch_and_what_is_minus_one_vary(serve: Serve) -> None:
    serve.write("import torch\n\ndef f(x, y):\n    return x.sum(1) + y\n")
    inputs = [field("x", "FP32", [-1, 4]), field("y", "FP32", [4])]
    described = config(inputs, [field("z", "FP32", [4])], max_batch_size=8, parameters=UNCOMPILED)
    model = serve.load(described).instance.engine.model
    with model.mode:
        programs, (variant,) = load_runtime().runtime_module("export").export_variants(model)
    assert list(programs) == [variant["name"]] == ["variant0"]
    (batch, length, four), (same_batch, also_four) = variant["dims"]
    assert (four, also_four, same_batch) == (4, 4, batch)
    assert isinstance(batch, str)
    assert isinstance(length, str)
    assert batch != length
    assert {name: bounds[0] for name, bounds in variant["ranges"].items()} == {batch: 2, length: 2}


def test_what_cannot_be_exported_says_why(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3] if x.sum() > 0 else -x[:, :3]\n")
    model = serve.load(simple()).instance.engine.model
    module = load_runtime().runtime_module
    with model.mode, pytest.raises(module("errors").NotExportableError, match=r"^torch\.export: "):
        module("export").export_variants(model)


def test_weights_are_described_by_name(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(simple()).instance.engine.model
    assert load_runtime().runtime_module("weights").describe_weights(model.weights()) == {
        "linear.weight": "float32 [3, 4]",
        "linear.bias": "float32 [3]",
    }
