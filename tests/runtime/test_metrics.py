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


def test_what_a_start_was_made_of(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = tmp_path / "python_env_abc" / "0"
    (prefix / "share" / "envbuilder").mkdir(parents=True)
    manifest = '{\n "lock_digest": "ab12",\n "recipe": "cpu",\n "files": [the long list is not read]\n}\n'
    (prefix / "share" / "envbuilder" / "manifest.json").write_text(manifest)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").touch()
    monkeypatch.setattr(sys, "prefix", str(prefix))
    serve.write(LINEAR)
    serve.load(simple())
    families = serve.pb.MetricFamily.families
    ((labels, one),) = families["pytorch_runtime_info"].items()
    known = dict(labels)
    assert one.value() == 1
    assert (known["recipe"], known["lock"], known["served"]) == ("cpu", "ab12", "eager")
    assert len(known["environment"]) == len(known["model_digest"]) == 64
    phases = {
        dict(key)["phase"]: series.value()
        for key, series in families["pytorch_runtime_start_seconds"].items()
    }
    assert {"process", "import", "load", "compile", "warm"} <= set(phases)
    assert all(seconds >= 0 for seconds in phases.values())
    assert phases["compile"] == 0
    (line,) = [text for _, text in serve.pb.Logger.lines if "ready in" in text]
    assert "; served by eager; model " in line
    assert line.endswith(f"environment {known['environment'][:12]} (recipe cpu, lock ab12)")


def test_the_digest_of_a_model_is_of_its_code_and_its_weights(serve: Serve) -> None:
    found = []
    for bias, weight in ((True, 0), (False, 0), (False, 1)):
        serve.pb.MetricFamily.families.clear()
        serve.write(LINEAR.replace("bias=True", f"bias={bias}"))
        keys = ["linear.weight", "linear.bias"][: 1 + bias]
        shapes = {"linear.weight": (3, 4), "linear.bias": (3,)}
        torch.save({key: torch.full(shapes[key], float(weight)) for key in keys}, serve.folder() / "model.pt")
        serve.load(simple())
        ((labels, _),) = serve.pb.MetricFamily.families["pytorch_runtime_info"].items()
        found.append(dict(labels)["model_digest"])
    assert len(set(found)) == 3
