from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.runtime import LINEAR, SEED, field, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


@pytest.fixture
def net(serve: Serve) -> Serve:
    serve.write(LINEAR)
    return serve


def message(net: Serve, key: str, value: str) -> str:
    return net.error(simple(**{key: value}))


def test_malformed_json(net: Serve) -> None:
    assert message(net, SEED, "{disable: true}") == (
        f"{SEED} is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); "
        "it reads '{disable: true}'"
    )
    assert message(net, "MODEL_KWARGS", "{") == (
        "MODEL_KWARGS is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); "
        "it reads '{'"
    )


def test_json_of_another_type(net: Serve) -> None:
    assert message(net, "MODEL_KWARGS", "[1]") == "MODEL_KWARGS must be a JSON object, not [1]"
    assert message(net, SEED, '"eager"') == f'{SEED} must be a JSON object, not "eager"'


def test_unknown_compile_option(net: Serve) -> None:
    assert message(net, SEED, '{"model": 1}') == (
        f"{SEED} has no option 'model': allowed are fullgraph, dynamic, backend, mode, options, disable"
    )


def test_compile_option_of_another_type(net: Serve) -> None:
    assert message(net, SEED, '{"dynamic": "yes"}') == f'{SEED}: dynamic must be a bool, not "yes"'


def test_mode_with_options(net: Serve) -> None:
    assert message(net, SEED, '{"mode": "default", "options": {}}') == (
        f"{SEED} has both mode and options: torch.compile takes one of them"
    )


@pytest.mark.parametrize("value", ["many", "0", "-1", "1.5", ""])
@pytest.mark.parametrize(
    "key",
    [
        "NUM_THREADS",
        "NUM_INTEROP_THREADS",
        "INTRA_OP_THREAD_COUNT",
        "INTER_OP_THREAD_COUNT",
        "RECOMPILE_LIMIT",
    ],
)
def test_not_a_number(net: Serve, key: str, value: str) -> None:
    assert message(net, key, value) == f"{key} must be a whole number above 0, not {value!r}"


def test_two_names_of_one_parameter(net: Serve) -> None:
    both = {"NUM_THREADS": "1", "INTRA_OP_THREAD_COUNT": "2"}
    assert net.error(simple(**both)) == (
        "NUM_THREADS = 1 and INTRA_OP_THREAD_COUNT = 2 contradict each other: they mean the same, keep one"
    )
    net.load(simple(NUM_THREADS="1", INTRA_OP_THREAD_COUNT="1"))


@pytest.mark.parametrize(
    "key", ["INFERENCE_MODE", "DISABLE_CUDNN", "ENABLE_CACHE_CLEANING", "ENABLE_WEIGHT_SHARING"]
)
def test_not_a_flag(net: Serve, key: str) -> None:
    assert message(net, key, "maybe") == f"{key} must be true or false, not 'maybe'"


def test_not_a_choice(net: Serve) -> None:
    assert message(net, "DTYPE", "int8") == (
        "DTYPE must be one of float32, float64, float16, bfloat16, not 'int8'"
    )
    assert (
        message(net, "COMPILE_FALLBACK", "none") == "COMPILE_FALLBACK must be one of error, eager, not 'none'"
    )


def test_warmup_of_another_form(net: Serve) -> None:
    assert message(net, "WARMUP", '{"sizes": [1]}') == "WARMUP has no key 'sizes': allowed are batch, dims"
    assert message(net, "WARMUP", '{"batch": [0]}') == "WARMUP: batch holds sizes above 0, not 0"
    assert message(net, "WARMUP", '{"batch": 4}') == "WARMUP: batch must be a list of sizes, not 4"
    assert message(net, "WARMUP", '{"batch": [9]}') == "WARMUP: batch size 9 is above max_batch_size 8"
    assert message(net, "WARMUP", '{"dims": {"z": [4]}}') == (
        "WARMUP: dims names 'z', which is no input of the configuration: x"
    )
    assert message(net, "WARMUP", '{"dims": {"x": [5]}}') == (
        "WARMUP: dims of 'x' must fit the configuration's [4], they are [5]"
    )
    assert message(net, "WARMUP", '{"dims": [4]}') == "WARMUP: dims must be sizes by input, not [4]"
    assert message(net, "WARMUP", '{"dims": {"x": 4}}') == (
        "WARMUP: dims of 'x' must fit the configuration's [4], they are 4"
    )
    varied = {**simple(WARMUP='{"dims": {"x": ["4"]}}'), "input": [field("x", "FP32", [-1])]}
    assert net.error(varied) == "WARMUP: dims of 'x' must fit the configuration's [-1], they are [\"4\"]"


def test_class_and_function(net: Serve) -> None:
    both = {"MODEL_CLASS": "Net", "MODEL_FUNCTION": "f"}
    assert net.error(simple(**both)) == (
        "MODEL_CLASS and MODEL_FUNCTION exclude each other: one thing is served"
    )


def test_a_name_that_is_nearly_ours_is_a_warning(net: Serve) -> None:
    net.load(simple(NUM_THREAD="1", EXECUTION_ENV_PATH="/nowhere", MY_OWN="1"))
    assert net.warnings() == [
        "net: unknown parameter NUM_THREAD, did you mean NUM_THREADS?",
        "net: Net has parameters and no weights file: served as constructed",
    ]


def test_decoupled_models_are_refused(net: Serve) -> None:
    config = {**simple(), "model_transaction_policy": {"decoupled": True}}
    assert net.error(config) == (
        "model_transaction_policy: decoupled is not served, each request has one response"
    )


def test_thread_counts(net: Serve) -> None:
    import torch

    net.load(simple(NUM_THREADS="1"))
    assert torch.get_num_threads() == 1
    net.load(simple(INTRA_OP_THREAD_COUNT="3"))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("groups", "threads"),
    [([{"count": 1}], 8), ([{"count": 3}], 2), ([{"count": 2, "gpus": [0, 1]}, {"count": 1}], 1), ([], 8)],
)
def test_unset_threads_are_the_cpus_by_instances(
    net: Serve, monkeypatch: pytest.MonkeyPatch, groups: list[dict[str, Any]], threads: int
) -> None:
    import torch

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr("builtins.open", without_quota(open))
    net.load({**simple(WARMUP="false"), "instance_group": groups})
    assert torch.get_num_threads() == threads


def without_quota(real: Any) -> Any:
    def opened(path: Any, *args: Any, **kwargs: Any) -> Any:
        if str(path).startswith("/sys/fs/cgroup"):
            raise FileNotFoundError(path)
        return real(path, *args, **kwargs)

    return opened


def test_a_quota_of_the_control_group_counts(
    net: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    quota = tmp_path / "cpu.max"
    quota.write_text("250000 100000\n")
    real = open
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(
        "builtins.open", lambda p, *a, **k: real(quota if str(p) == "/sys/fs/cgroup/cpu.max" else p, *a, **k)
    )
    net.load(simple(WARMUP="false"))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("milliseconds", "threads"),
    [
        ("1", 1),  # threads do not help: one is left
        ("4 / threads", 4),  # each helps
        ("1 if threads > 1 else 2", 2),  # the second helps, the third and fourth do not
        ("15", 4),  # so long a call that a thread's cost does not count
    ],
)
def test_unset_threads_are_fewer_where_more_do_not_help(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, milliseconds: str, threads: int
) -> None:
    import torch

    serve.write(f"""
import time, torch

def sleep(x):
    threads = torch.get_num_threads()
    time.sleep(({milliseconds}) / 1000)
    return x[:, :3]
""")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr("builtins.open", without_quota(open))
    serve.load(simple())
    assert torch.get_num_threads() == threads
    assert ("info", f"net: {threads} of 4 threads") in serve.pb.Logger.lines
    serve.load(simple(NUM_THREADS="4"))
    assert torch.get_num_threads() == 4


def test_inference_mode(serve: Serve) -> None:
    import numpy as np

    serve.write("""
import torch

def modes(x):
    on = [torch.is_inference_mode_enabled(), torch.is_grad_enabled()]
    return torch.tensor(on).repeat(x.shape[0], 1)
""")
    config = {**simple(), "output": [{"name": "y", "data_type": "TYPE_BOOL", "dims": [2]}]}
    x = np.zeros((1, 4), np.float32)
    assert serve.load(config).infer(x=x)["y"].tolist() == [[True, False]]
    config["parameters"]["INFERENCE_MODE"] = {"string_value": "false"}
    assert serve.load(config).infer(x=x)["y"].tolist() == [[False, False]]


def test_disable_cudnn(net: Serve) -> None:
    import torch

    net.load(simple(DISABLE_CUDNN="true"))
    assert torch.backends.cudnn.enabled is False
    net.load(simple())
    assert torch.backends.cudnn.enabled is True


def test_model_kwargs(net: Serve) -> None:
    model = net.load(simple(MODEL_KWARGS=json.dumps({"bias": False})))
    assert model.instance.engine.model.eager.linear.bias is None


def test_dtype_converts_the_model_its_inputs_and_its_outputs(net: Serve) -> None:
    import numpy as np
    import torch

    model = net.load(simple(DTYPE="bfloat16"))
    module = model.instance.engine.model.eager
    assert module.linear.weight.dtype is torch.bfloat16
    x = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    y = model.infer(x=x)["y"]
    assert y.dtype == np.float32
    expected = module(torch.from_numpy(x).bfloat16()).float().numpy()
    np.testing.assert_array_equal(y, expected)
