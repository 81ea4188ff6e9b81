"""Plain batches, answered in few steps, and whatever those steps leave to the longer way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.requests import COUNTED, arrays, ask, rows
from tests.helpers.runtime import UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's own, while it compiles
]

TWO = """
import torch

def f(x, n):
    return {"sum": x.sum(1, keepdim=True) + n, "twice": x.t().contiguous().t() * 2}
"""


def two(**rest: Any) -> dict[str, Any]:
    """Describe a model of two inputs and two outputs."""
    inputs = [field("x", "FP32", [2]), field("n", "INT64", [1])]
    outputs = [field("sum", "FP32", [1]), field("twice", "FP32", [2])]
    return config(inputs, outputs, max_batch_size=8, parameters={**UNCOMPILED, **rest})


def test_each_request_gets_its_rows_of_each_output(serve: Serve) -> None:
    serve.write(TWO)
    serve.load(two())
    x = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) for n in (1, 3, 2)]
    n = [np.full((len(one), 1), 10 * place, np.int64) for place, one in enumerate(x)]
    answers = ask(serve, *({"x": a, "n": b} for a, b in zip(x, n, strict=True)))
    for given, number, answer in zip(x, n, answers, strict=True):
        assert np.array_equal(arrays(answer)["sum"], given.sum(1, keepdims=True) + number)
        assert np.array_equal(arrays(answer)["twice"], given * 2)


def test_a_failing_call_is_not_repeated_for_one_request(serve: Serve) -> None:
    serve.write(
        "CALLS = []\ndef f(x):\n    CALLS.append(1)\n    if x.sum() > 3:\n"
        "        raise ValueError(f'call {len(CALLS)}')\n    return x[:, :3]\n"
    )
    serve.load(simple())
    ask(serve, {"x": np.zeros((1, 4), np.float32)})
    first, second = (ask(serve, {"x": np.ones((1, 4), np.float32)})[0] for _ in range(2))
    assert int(second.rpartition("call ")[2].split()[0]) == int(first.rpartition("call ")[2].split()[0]) + 1


@pytest.mark.parametrize("what", ["an array that is none of the tensor", "no arrays"])
def test_a_stub_whose_arrays_are_wrong(
    serve: Serve, pb: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Stubs before 24.11 under NumPy 2: strides of 0."""

    def wrong(self: Any) -> Any:
        if what == "no arrays":
            raise RuntimeError("no NumPy")
        return np.lib.stride_tricks.as_strided(self.content(), strides=[0] * len(self.shape()))

    monkeypatch.setattr(pb.Tensor, "as_numpy", wrong)
    serve.write(COUNTED)
    serve.load(simple())
    given = rows(2, 1)
    answers = ask(serve, *({"x": one} for one in given))
    monkeypatch.undo()
    for one, answer in zip(given, answers, strict=True):
        assert np.array_equal(arrays(answer)["y"], one[:, :3] * 2)


@pytest.mark.parametrize(
    ("described", "shape", "plain"),
    [
        pytest.param(simple(), (1, 4), True, id="a plain batch"),
        pytest.param(simple(0), (4,), False, id="no batches"),
        pytest.param(simple(DTYPE="float64"), (1, 4), False, id="a dtype of its own"),
    ],
)
def test_only_plain_batches_are_read_as_arrays(
    serve: Serve,
    pb: Any,
    monkeypatch: pytest.MonkeyPatch,
    described: Any,
    shape: tuple[int, ...],
    plain: bool,
) -> None:
    serve.write(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x[..., :3] * 2\n"
    )
    serve.load(described)
    read: list[str] = []
    as_numpy = pb.Tensor.as_numpy

    def noted(tensor: Any) -> Any:
        read.append(tensor.name())
        return as_numpy(tensor)

    monkeypatch.setattr(pb.Tensor, "as_numpy", noted)
    (answer,) = ask(serve, {"x": np.ones(shape, np.float32)})
    assert ("x" in read) is plain
    assert arrays(answer)["y"].tolist() == np.full((*shape[:-1], 3), 2.0).tolist()
