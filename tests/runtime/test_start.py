"""What a start was made of: environment, model, and the time that each phase took."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.runtime import LINEAR, RUNTIME, load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


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


def test_what_cannot_be_told_of_a_model_that_is_ready(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve.write("def f(x):\n    return x[:, :3]\n")
    start = load_runtime().runtime_module("start")

    def fail(*_: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(start, "tell_ready", fail)
    serve.load(simple())
    assert serve.warnings() == ["net: ready; what it is made from cannot be said: gone"]


def start() -> Any:
    return load_runtime().runtime_module("start")


def test_large_weights_are_sampled_at_both_ends(tmp_path: Path) -> None:
    """All of them take too long to read; code counts whole."""
    digest = start().model_digest
    weights, code = tmp_path / "model.pt", tmp_path / "model.py"
    data = bytearray(3 * 2**20)
    code.write_bytes(bytes(data))
    files = load_runtime().runtime_module("source").find_files
    found = []
    for place in (None, 0, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        if place is not None:
            changed[place] = 1
        weights.write_bytes(changed)
        model = types.SimpleNamespace(folder=str(tmp_path), files=files(str(tmp_path), "", str(RUNTIME)))
        model.files = model.files._replace(weights=(str(weights),))
        found.append(digest(types.SimpleNamespace(model=model)))
    assert found[0] == found[2], "the middle is not read"
    assert len(set(found)) == 3
    code.write_bytes(bytes(changed))
    assert digest(types.SimpleNamespace(model=model)) != found[-1]


@pytest.mark.parametrize("text", [None, "[]", "{", '"recipe"'])
def test_an_environment_that_says_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, text: str | None
) -> None:
    (tmp_path / "share" / "envbuilder").mkdir(parents=True)
    if text is not None:
        (tmp_path / "share" / "envbuilder" / "manifest.json").write_text(text)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    serve.write("def f(x):\n    return x[:, :3]\n")
    known = start().identity(serve.load(simple()).instance.engine)
    assert (known["recipe"], known["lock"], known["served"]) == ("", "", "eager")


def test_what_came_before_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = start().before_import
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "gone"))
    assert before(time.monotonic()) == {}
    folder = tmp_path / "python_env_abc123"
    for prefix, extracted in ((tmp_path / "env", False), (folder, True)):
        (prefix / "bin").mkdir(parents=True)
        (prefix / "bin" / "python").touch()
        monkeypatch.setattr(sys, "prefix", str(prefix))
        found = before(time.monotonic() - 5)
        # The file is younger than this process: it was not extracted before it.
        assert set(found) == {"process"}, extracted
        assert found["process"] >= 0
    assert before(time.monotonic())["process"] >= found["process"] + 4


def test_an_environment_that_was_extracted_before_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = start()
    monkeypatch.setattr(module, "LONGEST_EXTRACTION", float("inf"))
    (tmp_path / "python_env_abc123").symlink_to(sys.prefix)  # whose files are older than this process
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "python_env_abc123"))
    found = module.before_import(time.monotonic())
    assert found["extraction"] > 0
    monkeypatch.setattr(module, "LONGEST_EXTRACTION", 0.0)
    assert set(module.before_import(time.monotonic())) == {"process"}, "what took longer was none"
