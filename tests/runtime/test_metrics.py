"""What the server's metrics are told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.requests import arrays, ask, rows
from tests.helpers.runtime import simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


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
    told = {
        name: series[labels].value()
        for name, series in serve.pb.MetricFamily.families.items()
        if labels in series
    }
    assert told == {
        "pytorch_runtime_recompiles": 0,
        "pytorch_runtime_uncompiled_calls": 0,
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
