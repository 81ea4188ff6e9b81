"""Requests and their answers, without compiling."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


def rows(*sizes: int) -> list[Any]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(size, 4)).astype(np.float32) for size in sizes]


def ask(serve: Serve, *inputs: dict[str, Any], outputs: tuple[str, ...] = ()) -> list[Any]:
    """Ask several requests at once of the model that was loaded last; errors come as their text."""
    pb = serve.pb
    requests = [
        pb.InferenceRequest([pb.Tensor(name, data) for name, data in values.items()], outputs)
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


def test_one_call_for_a_batch(serve: Serve) -> None:
    serve.write(COUNTED)
    serve.load(simple(WARMUP="false"))
    values = rows(1, 3, 2)
    answers = ask(serve, *[{"x": x} for x in values])
    assert calls(serve) == [[6, 4]]
    for answer, x in zip(answers, values, strict=True):
        np.testing.assert_array_equal(arrays(answer)["y"], x[:, :3] * 2)


def test_one_request_is_passed_on_without_a_copy(serve: Serve) -> None:
    serve.write("POINTERS = []\n\ndef f(x):\n    POINTERS.append(x.data_ptr())\n    return x[:, :3]\n")
    serve.load(simple(WARMUP="false"))
    (x,) = rows(2)
    ask(serve, {"x": x})
    assert serve.models[-1].instance.engine.model.eager.__globals__["POINTERS"] == [x.ctypes.data]


def test_shapes_that_do_not_concatenate_are_run_in_groups(serve: Serve) -> None:
    serve.write(COUNTED)
    described = config(
        [field("x", "FP32", [-1, 4])],
        [field("y", "FP32", [-1, 3])],
        max_batch_size=8,
        parameters={**UNCOMPILED, "WARMUP": "false"},
    )
    serve.load(described)
    values = [np.full((n, length, 4), n, np.float32) for n, length in ((1, 5), (1, 7), (2, 5), (1, 1))]
    answers = ask(serve, *[{"x": x} for x in values])
    assert calls(serve) == [[3, 5, 4], [1, 7, 4], [1, 1, 4]]
    for answer, x in zip(answers, values, strict=True):
        np.testing.assert_array_equal(arrays(answer)["y"], x[..., :3] * 2)


def test_without_batching_request_by_request(serve: Serve) -> None:
    serve.write(COUNTED)
    serve.load(simple(0, WARMUP="false"))
    x = np.arange(4, dtype=np.float32)
    answers = ask(serve, {"x": x}, {"x": x + 1})
    assert calls(serve) == [[4], [4]]
    np.testing.assert_array_equal(arrays(answers[1])["y"], (x + 1)[:3] * 2)


def test_a_bad_request_fails_alone(serve: Serve) -> None:
    serve.write("""
def f(x):
    if (x < 0).any():
        raise ValueError("a negative value")
    return x[:, :3]
""")
    serve.load(simple())
    good = np.ones((1, 4), np.float32)
    answers = ask(serve, {"x": good}, {"x": -good}, {"x": good * 2})
    assert answers[1] == "net: ValueError: a negative value (model.py, line 4)"
    np.testing.assert_array_equal(arrays(answers[0])["y"], good[:, :3])
    np.testing.assert_array_equal(arrays(answers[2])["y"], good[:, :3] * 2)


def test_a_missing_input(serve: Serve) -> None:
    serve.write(COUNTED)
    serve.load(simple())
    answers = ask(serve, {"x": rows(1)[0]}, {})
    assert answers[1] == "net: the input 'x' is missing"
    assert "y" in answers[0]


def test_inputs_go_to_parameters_of_their_name(serve: Serve) -> None:
    serve.write("def f(b, a):\n    return a - b\n")
    x = [field("a", "FP32", [1]), field("b", "FP32", [1])]
    serve.load(config(x, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 1), np.float32)
    (answer,) = ask(serve, {"a": one * 5, "b": one * 3})
    assert arrays(answer)["y"].tolist() == [[2.0]]


def test_inputs_of_other_names_go_in_order(serve: Serve) -> None:
    serve.write("def f(left, right):\n    return left - right\n")
    x = [field("INPUT__0", "FP32", [1]), field("INPUT__1", "FP32", [1])]
    serve.load(config(x, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 1), np.float32)
    (answer,) = ask(serve, {"INPUT__1": one * 3, "INPUT__0": one * 5})
    assert arrays(answer)["y"].tolist() == [[2.0]]


OPTIONAL = """
import torch

def f(x, scale=None, *, shift: float = 10.0):
    y = x[:, :3] if scale is None else x[:, :3] * scale
    return y + shift
"""


def test_optional_inputs(serve: Serve) -> None:
    serve.write(OPTIONAL)
    inputs = [
        field("x", "FP32", [4]),
        field("scale", "FP32", [1], optional=True),
        field("shift", "FP32", [1], optional=True),
    ]
    serve.load(config(inputs, [field("y", "FP32", [3])], max_batch_size=8, parameters=UNCOMPILED))
    x, one = rows(1)[0], np.ones((1, 1), np.float32)
    answers = ask(serve, {"x": x}, {"x": x, "scale": one * 2}, {"x": x, "shift": one}, {"x": x})
    for answer, y in zip(answers, (x + 10, x * 2 + 10, x + 1, x + 10), strict=True):
        np.testing.assert_allclose(arrays(answer)["y"], y[:, :3], rtol=1e-6)


def test_optional_inputs_in_order_take_the_default(serve: Serve) -> None:
    serve.write("def f(a, b=None, c=None):\n    assert b is None\n    return a if c is None else a + c\n")
    inputs = [
        field("i0", "FP32", [1]),
        field("i1", "FP32", [1], optional=True),
        field("i2", "FP32", [1], optional=True),
    ]
    serve.load(
        config(
            inputs,
            [field("y", "FP32", [1])],
            max_batch_size=8,
            parameters={**UNCOMPILED, "WARMUP": "false"},
        )
    )
    one = np.ones((1, 1), np.float32)
    answers = ask(serve, {"i0": one, "i2": one}, {"i0": one})
    assert [arrays(answer)["y"].tolist() for answer in answers] == [[[2.0]], [[1.0]]]


def test_an_optional_input_without_a_default(serve: Serve) -> None:
    serve.write("def f(a, b, c):\n    return a\n")
    inputs = [
        field("i0", "FP32", [1]),
        field("i1", "FP32", [1], optional=True),
        field("i2", "FP32", [1], optional=True),
    ]
    serve.load(config(inputs, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 1), np.float32)
    assert ask(serve, {"i0": one, "i2": one}) == [
        "net: input 'i1' is absent and the model has no default for it"
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


def test_only_requested_outputs_are_sent(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3], x\n")
    outputs = [field("y", "FP32", [3]), field("z", "FP32", [4])]
    serve.load(config([field("x", "FP32", [4])], outputs, max_batch_size=8, parameters=UNCOMPILED))
    (x,) = rows(1)
    assert [list(answer) for answer in ask(serve, {"x": x}, outputs=("z",))] == [["z"]]
    assert [list(answer) for answer in ask(serve, {"x": x})] == [["y", "z"]]


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


def test_an_output_without_the_batch(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:1, :3]\n")
    serve.load(simple(WARMUP="false"))
    assert ask(serve, {"x": rows(2)[0]}) == ["net: output 'y' has 1 rows for a batch of 2"]


def test_outputs_are_checked_by_the_first_request_where_nothing_was_warmed(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3].double()\n")
    serve.load(simple(WARMUP="false"))
    assert ask(serve, {"x": rows(2)[0]}) == [
        "net: output 'y': expected float32 (TYPE_FP32 in the configuration), found float64"
    ]


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
    requests = [pb.InferenceRequest([pb.Tensor.from_dlpack("x", x)]) for x in values]
    for response, x in zip(serve.models[-1].execute(requests), values, strict=True):
        (tensor,) = response.output_tensors()
        assert tensor.triton_dtype() == 14
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


STRINGS = """
def f(words):
    assert isinstance(words, list) and all(isinstance(word, str) for word in words)
    return [word.upper() for word in words]
"""


@pytest.mark.parametrize("batch", [0, 8])
def test_strings_in_and_out(serve: Serve, batch: int) -> None:
    serve.write(STRINGS)
    dims = [1] if batch else [-1]
    serve.load(config([field("words", "STRING", dims)], [field("y", "STRING", dims)], max_batch_size=batch))
    shape = (-1, 1) if batch else (-1,)
    first = np.array(["é", "b"], dtype=object).reshape(shape)
    second = np.array([b"\xff", b""], dtype=object).reshape(shape)
    answers = ask(serve, {"words": first}, {"words": second})
    assert [arrays(answer)["y"].reshape(-1).tolist() for answer in answers] == [
        ["É".encode(), b"B"],
        [b"\xff", b""],
    ]
    assert answers[0]["y"].shape() == list(first.shape)


def test_several_strings_a_row(serve: Serve) -> None:
    serve.write("def f(words):\n    return [[a + b, b] for a, b in words]\n")
    inputs, outputs = [field("words", "STRING", [2])], [field("y", "STRING", [2])]
    serve.load(config(inputs, outputs, max_batch_size=8))
    (answer,) = ask(serve, {"words": np.array([["a", "b"], ["c", "d"]], dtype=object)})
    assert arrays(answer)["y"].tolist() == [[b"ab", b"b"], [b"cd", b"d"]]


def test_nan_and_infinity_pass_untouched(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3]\n")
    serve.load(simple())
    x = np.array([[np.nan, np.inf, -np.inf, 0.0]], np.float32)
    np.testing.assert_array_equal(arrays(ask(serve, {"x": x})[0])["y"], x[:, :3])


def test_empty_batches_pass_untouched(serve: Serve) -> None:
    serve.write(LINEAR)
    serve.load(simple())
    empty, full = rows(0, 2)
    answers = ask(serve, {"x": empty}, {"x": full}, {"x": empty})
    assert [arrays(answer)["y"].shape for answer in answers] == [(0, 3), (2, 3), (0, 3)]
    assert arrays(ask(serve, {"x": empty})[0])["y"].shape == (0, 3)


def test_the_models_shape_is_the_reshaped_one(serve: Serve) -> None:
    serve.write("def f(x):\n    return x.sum(-1)\n")
    inputs = [field("x", "FP32", [4], reshape={"shape": [2, 2]})]
    outputs = [field("y", "FP32", [2], reshape={"shape": [2]})]
    serve.load(config(inputs, outputs, max_batch_size=8, parameters=UNCOMPILED))
    (answer,) = ask(serve, {"x": np.ones((1, 2, 2), np.float32)})
    assert arrays(answer)["y"].tolist() == [[2.0, 2.0]]


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


def test_metrics(serve: Serve) -> None:
    serve.write("def f(x):\n    assert (x > -9).all(), 'too small'\n    return x[:, :3]\n")
    serve.load(simple())
    model = serve.models[0].instance
    a, b = rows(2, 3)
    assert ask(serve, {"x": a}, {"x": b}, {"x": a * 0 - 10})[2] == (
        "net: AssertionError: too small (model.py, line 2)"
    )
    model.engine.metrics.tell(at_once=True)
    labels = (("model", "net"), ("version", "1"))
    told = {name: series[labels].value() for name, series in serve.pb.MetricFamily.families.items()}
    assert told == {
        "pytorch_runtime_recompiles": 0,
        "pytorch_runtime_failed_requests": 1,
        "pytorch_runtime_batches": 2,
        "pytorch_runtime_batch_rows": 5,
        "pytorch_runtime_compile_seconds": 0,
    }


def test_a_server_without_metrics(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **kwargs: Any) -> None:
        raise serve.pb.TritonModelException("Error when creating MetricFamily: metrics are not enabled")

    monkeypatch.setattr(serve.pb.MetricFamily, "__init__", refused)
    serve.write("def f(x):\n    return x[:, :3]\n")
    serve.load(simple())
    assert arrays(ask(serve, {"x": rows(1)[0]})[0])["y"].shape == (1, 3)


def test_the_collector_leaves_alone_what_was_loaded(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(simple())
    assert gc.get_freeze_count() > 0
    model.finalize()
    assert gc.get_freeze_count() == 0
    serve.models.clear()
