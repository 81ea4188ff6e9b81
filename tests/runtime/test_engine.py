"""Requests, answered together."""

from __future__ import annotations

import gc
import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.requests import COUNTED, arrays, ask, calls, rows
from tests.helpers.runtime import LINEAR, SEED, UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


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


def test_only_requested_outputs_are_sent(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3], x\n")
    outputs = [field("y", "FP32", [3]), field("z", "FP32", [4])]
    serve.load(config([field("x", "FP32", [4])], outputs, max_batch_size=8, parameters=UNCOMPILED))
    (x,) = rows(1)
    assert [list(answer) for answer in ask(serve, {"x": x}, outputs=("z",))] == [["z"]]
    assert [list(answer) for answer in ask(serve, {"x": x})] == [["y", "z"]]


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


def test_the_collector_leaves_alone_what_was_loaded(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(simple())
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()  # it is off only while torch is imported
    model.finalize()
    assert gc.get_freeze_count() == 0
    serve.models.clear()


GENERATOR = np.random.default_rng(0)


def x(size: int) -> Any:
    return GENERATOR.normal(size=(size, 4)).astype(np.float32)


def compiled(**options: Any) -> dict[str, Any]:
    return simple(**{SEED: json.dumps({"backend": "aot_eager", **options})})


def test_a_recompile_is_logged_and_counted(serve: Serve) -> None:
    serve.write(LINEAR)
    config = compiled(dynamic=False)
    config["parameters"]["WARMUP"] = {"string_value": '{"batch": [2]}'}
    config["parameters"]["RECOMPILE"] = {"string_value": "allow"}
    model = serve.load(config)
    serve.pb.Logger.lines.clear()
    model.infer(x=x(2))
    assert serve.warnings() == []
    model.infer(x=x(3))
    assert serve.warnings() == ["net: compiled again while serving, for inputs {'x': [3, 4]}"]
    model.instance.engine.metrics.tell(at_once=True)
    (series,) = serve.pb.MetricFamily.families["pytorch_runtime_recompiles"].values()
    assert series.value() == 1


def test_nothing_is_compiled_in_a_request_unless_that_is_allowed(serve: Serve) -> None:
    serve.write(LINEAR)
    config = compiled(dynamic=False)
    config["parameters"]["WARMUP"] = {"string_value": '{"batch": [2]}'}
    model = serve.load(config)
    serve.pb.Logger.lines.clear()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    module = model.instance.engine.model.eager
    for size in (2, 3, 3, 2, 4, 2):
        data = x(size)
        with torch.no_grad():
            expected = module(torch.from_numpy(data)).numpy()
        np.testing.assert_allclose(model.infer(x=data)["y"], expected, rtol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
    cure = 'cover such sizes with WARMUP, or compile while serving with RECOMPILE: "allow"'
    assert serve.warnings() == [
        f"net: answered uncompiled, for inputs {{'x': [{size}, 4]}}; {cure}" for size in (3, 4)
    ]
    model.instance.engine.metrics.tell(at_once=True)
    (series,) = serve.pb.MetricFamily.families["pytorch_runtime_uncompiled_calls"].values()
    assert series.value() == 3
    model.finalize()
    again: Any = torch.compile(module, dynamic=False)
    again(torch.from_numpy(x(7)))  # another model of this process may compile
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before


def test_an_error_of_a_model_that_is_compiled_is_its_own(serve: Serve) -> None:
    serve.write("def f(x):\n    if x.shape[0] == 5:\n        raise ValueError('five')\n    return x[:, :3]\n")
    config = compiled(dynamic=False)
    config["parameters"]["WARMUP"] = {"string_value": '{"batch": [2]}'}
    model = serve.load(config)
    with pytest.raises(serve.pb.TritonModelException, match="five"):
        model.infer(x=x(5))


def test_sizes_of_dims_that_warm_up_covers(serve: Serve) -> None:
    serve.write("def f(x):\n    return x.sum(1, keepdim=True)\n")
    parameters = {
        SEED: '{"backend": "aot_eager", "dynamic": false}',
        "WARMUP": '{"batch": [2], "dims": [{"x": [4]}, {"x": [6]}]}',
    }
    model = serve.load(
        config([field("x", "FP32", [-1])], [field("y", "FP32", [1])], max_batch_size=8, parameters=parameters)
    )
    serve.pb.Logger.lines.clear()
    for length in (4, 6):
        assert model.infer(x=np.ones((2, length), np.float32))["y"].tolist() == [[length]] * 2
    assert serve.warnings() == []
    model.infer(x=np.ones((2, 5), np.float32))
    assert len(serve.warnings()) == 1
