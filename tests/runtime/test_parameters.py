"""Parameters of the configuration; what is wrong with them is said in words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.helpers.runtime import LINEAR, SEED, field, load_runtime, simple
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
        "COMPILE_TIMEOUT",
        "TOKENIZER_MAX_LENGTH",
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
    "key",
    [
        "INFERENCE_MODE",
        "DISABLE_CUDNN",
        "ENABLE_CACHE_CLEANING",
        "ENABLE_WEIGHT_SHARING",
        "TRUST_REMOTE_CODE",
    ],
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


def test_whether_requests_compile(net: Serve) -> None:
    assert message(net, "RECOMPILE", "no") == "RECOMPILE must be one of deny, allow, not 'no'"


def test_warmup_of_another_form(net: Serve) -> None:
    assert message(net, "WARMUP", '{"sizes": [1]}') == "WARMUP has no key 'sizes': allowed are batch, dims"
    assert message(net, "WARMUP", '{"batch": [0]}') == "WARMUP: batch must contain sizes above 0, not 0"
    assert message(net, "WARMUP", '{"batch": [true]}') == "WARMUP: batch must contain sizes above 0, not true"
    assert message(net, "WARMUP", '{"batch": 4}') == "WARMUP: batch must be a list of sizes, not 4"
    assert message(net, "WARMUP", '{"batch": [9]}') == "WARMUP: batch size 9 is above max_batch_size 8"
    assert message(net, "WARMUP", '{"dims": {"z": [4]}}') == (
        "WARMUP: dims names 'z', which is not an input of the configuration: x"
    )
    assert message(net, "WARMUP", '{"dims": {"x": [5]}}') == (
        "WARMUP: dims of 'x' must fit the configuration's [4], they are [5]"
    )
    assert message(net, "WARMUP", '{"dims": [4]}') == "WARMUP: dims must be sizes by input, not [4]"
    assert message(net, "WARMUP", '{"dims": {"x": 4}}') == (
        "WARMUP: dims of 'x' must fit the configuration's [4], they are 4"
    )
    for text in ('[{"z": [4]}]', '[{"x": [4]}, {"z": [4]}]'):
        assert message(net, "WARMUP", f'{{"dims": {text}}}') == (
            "WARMUP: dims names 'z', which is not an input of the configuration: x"
        )
    varied = {**simple(WARMUP='{"dims": {"x": ["4"]}}'), "input": [field("x", "FP32", [-1])]}
    assert net.error(varied) == "WARMUP: dims of 'x' must fit the configuration's [-1], they are [\"4\"]"


def test_class_and_function(net: Serve) -> None:
    both = {"MODEL_CLASS": "Net", "MODEL_FUNCTION": "f"}
    assert net.error(simple(**both)) == ("MODEL_CLASS and MODEL_FUNCTION exclude each other: set only one")


def test_a_name_that_is_nearly_ours_is_a_warning(net: Serve) -> None:
    net.load(simple(NUM_THREAD="1", EXECUTION_ENV_PATH="/nowhere", MY_OWN="1"))
    assert net.warnings() == [
        "net: unknown parameter NUM_THREAD, did you mean NUM_THREADS?",
        "net: Net has parameters but no weights file: served as constructed",
    ]


def test_decoupled_models_are_refused(net: Serve) -> None:
    config = {**simple(), "model_transaction_policy": {"decoupled": True}}
    assert net.error(config) == (
        "model_transaction_policy: decoupled mode is not supported: each request has one response"
    )


DOCS = Path(__file__).parents[2] / "docs"


def test_every_parameter_is_documented() -> None:
    known = set(load_runtime().runtime_module("parameters").Parameters({}).known)
    table = (DOCS / "runtime.md").read_text().split("## Parameters")[1].split("##")[0]
    keys = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for key in keys for name in re.findall(r"`(\w+)`", key)} == known
    assert len(known) > 20


def test_every_metric_is_documented_and_in_the_dashboard() -> None:
    metrics = load_runtime().runtime_module("metrics").Metrics
    real = {metrics.START, metrics.INFO, *(f"pytorch_runtime_{key}" for key in metrics.TEXTS)}
    page = (DOCS / "runtime.md").read_text().split("## Metrics")[1]
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == real
    dashboard = json.loads((DOCS / "dashboards" / "pytorch-runtime.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"pytorch_runtime_\w+", asked)) == real
