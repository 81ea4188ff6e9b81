"""What is tried and compiled while a model loads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import LINEAR, SEED, UNCOMPILED, compiled, config, field, graphs, simple
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
        "net: not warmed; the model fails on guessed sizes: AssertionError "
        '(model.py, line 2); say WARMUP: {"dims": {...}} for x'
    ]
    described["parameters"]["WARMUP"] = {"string_value": '{"dims": {"x": [14]}}'}
    serve.pb.Logger.lines.clear()
    serve.load(described)
    assert serve.warnings() == []


X4, Y3 = field("x", "FP32", [4]), field("y", "FP32", [3])
GENERATOR = np.random.default_rng(0)


def x(size: int) -> Any:
    return GENERATOR.normal(size=(size, 4)).astype(np.float32)


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


SLOW = """#!/bin/sh
case "$*" in *-c*|*-o*) sleep 60;; esac
exec g++ "$@"
"""
TIMED_OUT = "was not done after 2 s (COMPILE_TIMEOUT)"


@pytest.fixture
def slow_compiler(tmp_path: Path) -> Iterator[None]:
    """A C++ compiler that does not come to an end."""
    from torch._inductor import config as settings

    compiler = tmp_path / "cxx"
    compiler.write_text(SLOW)
    compiler.chmod(0o755)
    with settings.patch({"cpp.cxx": (None, str(compiler)), "compile_threads": 1}):
        yield


# The time may be up while a process is being started, whose pipes are then closed when nobody has them any more.
ENDED_ANYWHERE = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@ENDED_ANYWHERE
@pytest.mark.usefixtures("slow_compiler")
@pytest.mark.parametrize("given", [{}, {SEED: '{"freezing": false}'.replace("freezing", "dynamic")}])
def test_compiling_that_takes_too_long_is_left(serve: Serve, given: dict[str, str]) -> None:
    serve.write(LINEAR)
    began = time.monotonic()
    model = serve.load(
        config([X4], [Y3], max_batch_size=8, parameters={"COMPILE_TIMEOUT": "2", **given}),
    )
    assert time.monotonic() - began < 30
    (warning,) = [text for text in serve.warnings() if "COMPILE_TIMEOUT" in text]
    assert TIMED_OUT in warning
    assert "served uncompiled. Increase COMPILE_TIMEOUT to wait longer" in warning
    assert model.infer(x=x(3))["y"].shape == (3, 3)
    left = [path.name for path in Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.draft*")]
    assert left == []


@ENDED_ANYWHERE
@pytest.mark.usefixtures("slow_compiler")
def test_compiling_that_takes_too_long_is_an_error_if_that_is_asked_for(serve: Serve) -> None:
    serve.write(LINEAR)
    parameters = {"COMPILE_TIMEOUT": "2", "COMPILE_FALLBACK": "error"}
    told = serve.error(config([X4], [Y3], max_batch_size=8, parameters=parameters))
    assert TIMED_OUT in told
    assert told.endswith('COMPILE_FALLBACK: "eager" serves it uncompiled')


IN_PIECES = """
import torch

class Net(torch.nn.Module):
    def forward(self, x):
PIECES
        return x[:, :3]
""".replace("PIECES", "        if x.sum() < 1e9:\n            x = x + 1\n" * 5)


# The limit may be reached in a destructor, which loses the exception; it is raised again a second later.
LOST = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@LOST
@pytest.mark.parametrize("limit", ["2", "3"])
def test_graphs_are_counted_for_the_model_and_not_for_a_function(serve: Serve, limit: str) -> None:
    serve.write(IN_PIECES)
    parameters = {SEED: '{"backend": "aot_eager"}', "RECOMPILE_LIMIT": limit}
    model = serve.load(config([X4], [Y3], max_batch_size=8, parameters=parameters))
    (warning,) = serve.warnings()
    assert f"torch.compile needs more graphs than {limit} (RECOMPILE_LIMIT): " in warning
    assert "served uncompiled. Increase RECOMPILE_LIMIT to compile more" in warning
    assert model.instance.engine.served == "eager"
    np.testing.assert_array_equal(model.infer(x=np.zeros((2, 4), np.float32))["y"], np.full((2, 3), 5))


@LOST
def test_too_many_graphs_are_an_error_if_that_is_asked_for(serve: Serve) -> None:
    serve.write(IN_PIECES)
    parameters = {SEED: '{"backend": "aot_eager"}', "RECOMPILE_LIMIT": "2", "COMPILE_FALLBACK": "error"}
    told = serve.error(config([X4], [Y3], max_batch_size=8, parameters=parameters))
    assert told.startswith("torch.compile needs more graphs than 2 (RECOMPILE_LIMIT): ")
    assert told.endswith('COMPILE_FALLBACK: "eager" serves it uncompiled')


def test_as_many_graphs_as_may_be(serve: Serve) -> None:
    serve.write(IN_PIECES)
    parameters = {SEED: '{"backend": "aot_eager"}', "RECOMPILE_LIMIT": "40"}
    model = serve.load(config([X4], [Y3], max_batch_size=8, parameters=parameters))
    assert model.instance.engine.served == "dynamo"
    assert serve.warnings() == []


HALF = LINEAR.replace(
    "self.linear(x)", "self.linear(torch.relu(self.linear(x) @ self.linear.weight)).float()"
)
HALF = HALF.replace("return self", "x = x.bfloat16()\n        return self").replace(
    "bias=bias)", "bias=bias).bfloat16()"
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch's own, while it packages
def test_half_precision_is_measured_against_float32(serve: Serve) -> None:
    serve.write(HALF)
    torch.manual_seed(0)
    state = {f"linear.{k}": v.bfloat16() * 5 for k, v in torch.nn.Linear(4, 3).state_dict().items()}
    torch.save(state, serve.folder() / "model.pt")
    model = serve.load(config([X4], [Y3], max_batch_size=8))
    assert model.instance.engine.package is not None
    assert serve.warnings() == []
    told = [text for _, text in serve.pb.Logger.lines if "half precision" in text]
    assert len(told) <= 1
