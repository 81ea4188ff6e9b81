"""How results become outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.requests import arrays, ask, rows
from tests.helpers.runtime import UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

RESULTS = {
    "tuple": "return x[:, :3], x.sum(1, keepdim=True)",
    "list": "return [x[:, :3], x.sum(1, keepdim=True), 'more']",
    "dict": "return {'total': x.sum(1, keepdim=True), 'loss': None, 'y': x[:, :3]}",
    "named tuple": "return Pair(total=x.sum(1, keepdim=True), y=x[:, :3])",
    "other named tuple": "return Other(x[:, :3], x.sum(1, keepdim=True))",
    "dataclass": "return Data(total=x.sum(1, keepdim=True), y=x[:, :3])",
    "arrays": "return x[:, :3].numpy(), x.sum(1, keepdim=True).numpy()",
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_outputs_by_name_or_position(serve: Serve, result: str) -> None:
    serve.write(f"""
import collections
import dataclasses
import torch
Pair = collections.namedtuple("Pair", "total y")
Other = collections.namedtuple("Other", "first second")

@dataclasses.dataclass
class Data:
    total: torch.Tensor
    y: torch.Tensor

class Net(torch.nn.Module):
    def forward(self, x):
        {result}
""")
    outputs = [field("y", "FP32", [3]), field("total", "FP32", [1])]
    serve.load(config([field("x", "FP32", [4])], outputs, max_batch_size=8, parameters=UNCOMPILED))
    values = rows(1, 2)
    for answer, x in zip(ask(serve, *[{"x": x} for x in values]), values, strict=True):
        np.testing.assert_array_equal(arrays(answer)["y"], x[:, :3])
        np.testing.assert_allclose(arrays(answer)["total"], x.sum(1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_too_few_outputs(serve: Serve) -> None:
    serve.write("def f(x):\n    return x\n")
    outputs = [field("y", "FP32", [4]), field("z", "FP32", [4])]
    described = config([field("x", "FP32", [4])], outputs, max_batch_size=8, parameters=UNCOMPILED)
    assert serve.error(described) == "the model returned 1 output, the configuration names 2: y, z"
    serve.write("def f(x):\n    return {'y': x, 'w': x}\n")
    assert serve.error(described) == "the model returned y, w; missing: z"


def test_an_output_of_the_wrong_dtype(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3].double()\n")
    assert serve.error(simple()) == (
        "output 'y': expected float32 (TYPE_FP32 in the configuration), found float64"
    )


def test_an_output_of_the_wrong_rank(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3].unsqueeze(0)\n")
    assert serve.error(simple()) == (
        "output 'y': expected 2 dimensions (the batch and dims [3]), found [1, 8, 3]"
    )
    serve.write("def f(x):\n    return x[:3].unsqueeze(0)\n")
    assert serve.error(simple(0)) == "output 'y': expected 1 dimensions (dims [3]), found [1, 3]"


def test_an_output_of_the_wrong_length(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :2]\n")
    assert serve.error(simple()) == "output 'y': expected dims [3], found [2]"


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("BOOL", np.bool_),
        ("UINT8", np.uint8),
        ("INT8", np.int8),
        ("INT16", np.int16),
        ("INT32", np.int32),
        ("INT64", np.int64),
        ("FP16", np.float16),
        ("FP32", np.float32),
        ("FP64", np.float64),
    ],
)
def test_every_dtype_comes_through(serve: Serve, kind: str, dtype: Any) -> None:
    serve.write("def f(x):\n    return x\n")
    serve.load(
        config([field("x", kind, [3])], [field("y", kind, [3])], max_batch_size=8, parameters=UNCOMPILED)
    )
    values = [np.array([[0, 1, 1]]).astype(dtype), np.array([[1, 0, 1]]).astype(dtype)]
    for answer, x in zip(ask(serve, *[{"x": x} for x in values]), values, strict=True):
        assert arrays(answer)["y"].dtype == dtype
        np.testing.assert_array_equal(arrays(answer)["y"], x)


def test_bfloat16_comes_through(serve: Serve) -> None:
    serve.write("def f(x):\n    return x * 2\n")
    serve.load(
        config([field("x", "BF16", [3])], [field("y", "BF16", [3])], max_batch_size=8, parameters=UNCOMPILED)
    )
    pb = serve.pb
    values = [torch.tensor([[1.0, 2.0, 3.0]]).bfloat16(), torch.tensor([[4.0, 5.0, 6.0]]).bfloat16()]
    requests = [
        pb.InferenceRequest(inputs=[pb.Tensor.from_dlpack("x", x)], requested_output_names=[], model_name="m")
        for x in values
    ]
    for response, x in zip(serve.models[-1].execute(requests), values, strict=True):
        (tensor,) = response.output_tensors()
        assert tensor.number() == 14
        assert torch.equal(torch.utils.dlpack.from_dlpack(tensor.to_dlpack()), x * 2)


def test_zero_dim_and_non_contiguous_outputs(serve: Serve) -> None:
    serve.write("import torch\n\ndef f(x):\n    return x.sum(), x.reshape(2, 2).T\n")
    outputs = [field("total", "FP32", [1]), field("turned", "FP32", [2, 2])]
    serve.load(config([field("x", "FP32", [4])], outputs, parameters=UNCOMPILED))
    (answer,) = ask(serve, {"x": np.arange(4, dtype=np.float32)})
    assert arrays(answer)["total"].tolist() == [6.0]
    assert arrays(answer)["turned"].tolist() == [[0.0, 2.0], [1.0, 3.0]]


def test_a_scalar_a_row(serve: Serve) -> None:
    serve.write("def f(x):\n    return x.sum(1)\n")
    outputs = [field("total", "FP32", [1], reshape={"shape": []})]
    serve.load(config([field("x", "FP32", [4])], outputs, max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 4), np.float32)
    answers = ask(serve, {"x": one}, {"x": one * 2})
    assert [arrays(answer)["total"].tolist() for answer in answers] == [[4.0], [8.0]]


def test_numbers_come_through(serve: Serve) -> None:
    serve.write("def f(x):\n    return float(x.sum())\n")
    serve.load(config([field("x", "FP32", [4])], [field("y", "FP32", [1])], parameters=UNCOMPILED))
    (answer,) = ask(serve, {"x": np.arange(4, dtype=np.float32)})
    assert arrays(answer)["y"].tolist() == [6.0]
