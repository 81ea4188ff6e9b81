"""A model loaded and asked: what is compared with what, and what is said of it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.guest.cases import packed
from envbuilder.guest.host import Host, stand_in
from envbuilder.guest.neighbours import Neighbours
from envbuilder.guest.serving import Ensemble, OwnModel, RuntimeModel, cpp_compiler, seed, unique_graphs
from tests.helpers.runtime import LINEAR, RUNTIME, field
from tests.helpers.runtime import config as described

OWN = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    asked = 0

    def execute(self, requests):
        answers = []
        for request in requests:
            TritonPythonModel.asked += 1
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            outputs = [pb_utils.Tensor("y", ANSWER)]
            answers.append(pb_utils.InferenceResponse(outputs))
        return answers

    def finalize(self):
        FINALIZE
"""


@pytest.fixture
def scratch(tmp_path: Path, pb: Any) -> Iterator[Path]:
    (tmp_path / "scratch").mkdir()
    before = stand_in().use_router(Neighbours({}))  # which knows no other model
    yield tmp_path / "scratch"
    stand_in().use_router(before)


def host_of(scratch: Path, config: dict[str, Any], **rest: Any) -> Host:
    folder = scratch.parent / "own"
    cases: dict[str, Any] = {str(size): {"x": np.full((size, 3), size, np.float32)} for size in (1, 2)}
    arrays = [packed(label, name, one) for label, inputs in cases.items() for name, one in inputs.items()]
    np.savez(scratch / "inputs.npz", **dict(arrays))
    job = {
        "model": str(folder),
        "version": "1",
        "file": "model.py",
        "config": {**config, "name": "own"},
        "inputs": str(scratch / "inputs.npz"),
        "outputs": str(scratch / "outputs.npz"),
        "scratch": str(scratch),
        **rest,
    }
    return Host(job)


CONFIG = described(
    [field("x", "FP32", [3])], [field("y", "FP32", [3])], max_batch_size=4, dynamic_batching={}
)


def own(scratch: Path, answer: str = "x * 2", finalize: str = "pass", **rest: Any) -> tuple[OwnModel, Host]:
    folder = scratch.parent / "own" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(OWN.replace("ANSWER", answer).replace("FINALIZE", finalize))
    host = host_of(scratch, CONFIG, **rest)
    host.import_file()
    return OwnModel(host, lambda _, work, *args: work(*args), Neighbours(host.job)), host


def test_a_model_of_the_users_is_asked_twice_and_together(scratch: Path) -> None:
    model, host = own(scratch)
    found: dict[str, Any] = {}
    model.serve(found)
    assert (found["own"], found["compiled"], found["backend"]) == (True, False, "none")
    assert found["cases"] == ["1", "2"]
    assert found["shapes"] == {"y": [1, 3]}
    assert found["varying"] == found["differs"] == found["together"] == found["empty"] == []
    assert found["missing"] == found["undescribed"] == []
    assert host.module.TritonPythonModel.asked == 6, "each, the first and the last again, and two together"
    with np.load(scratch / "outputs.npz") as saved:
        assert saved["2#0/y"].tolist() == [[4.0] * 3] * 2


def test_what_varies_and_what_is_not_as_described(scratch: Path) -> None:
    model, _ = own(scratch, "np.full((len(x), 2), self.asked, np.float64)")
    found: dict[str, Any] = {}
    model.serve(found)
    assert found["varying"] == ["y"]
    assert found["differs"] == [], "only types and dims were compared"
    (said,) = found["undescribed"]
    assert said.startswith("y is float64[2, 2] in batch of 2, and config.pbtxt says FP32[")


def test_answers_that_depend_on_who_is_asked_beside(scratch: Path) -> None:
    model, _ = own(scratch, "x * len(requests)")
    found: dict[str, Any] = {}
    model.serve(found)
    assert len(found["together"]) == 2
    assert all(text.startswith("y differs from alone it") for text in found["together"])


def test_an_output_without_values(scratch: Path) -> None:
    model, _ = own(scratch, "np.empty((len(x), 0), np.float32)")
    found: dict[str, Any] = {}
    model.serve(found)
    assert found["empty"] == ["y"]


def test_a_refusal_for_a_range_is_told_from_others(scratch: Path) -> None:
    model, host = own(scratch, "x / 0 if (x > 1).any() else x", made_up=True)
    refusing = model.load()
    with np.errstate(all="raise"), pytest.raises(Exception, match="divide by zero"):
        model.ask_alone(refusing, {"x": np.full((1, 3), 5, np.float32)})
    assert host.otherwise, "other floats are answered"
    assert host.asked == "x float32[1, 3]", "of the one that was refused"


def test_after_a_slow_refusal_nothing_else_is_tried(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envbuilder.guest.cases.PATIENCE", 0.0)
    model, host = own(scratch, "no_such_name", made_up=True)
    slow = model.load()
    with pytest.raises(Exception, match="no_such_name"):
        model.ask_alone(slow, {"x": np.ones((1, 3), np.float32)})
    assert host.module.TritonPythonModel.asked == 1
    assert host.otherwise, "not known"


def test_what_finalize_raises(scratch: Path) -> None:
    model, _ = own(scratch, finalize="raise OSError('busy')")
    assert model.finish() is None, "it was not loaded"
    model.serve({})
    assert model.finish() == "OSError: busy"


@pytest.mark.parametrize(("iterative", "flags"), [(False, 3), (True, 1)])
def test_an_iterative_sequence_does_not_end_by_a_flag(scratch: Path, iterative: bool, flags: int) -> None:
    own(scratch, "np.full(x.shape, request.flags(), np.float32)")
    batching = {"iterative_sequence": iterative, "max_sequence_idle_microseconds": 1}
    config = {key: value for key, value in CONFIG.items() if key != "dynamic_batching"}
    host = host_of(scratch, {**config, "sequence_batching": batching})
    ((answer,),) = host.ask(host.load_own(), [{"x": np.ones((1, 3), np.float32)}])
    assert answer["y"].tolist() == [[float(flags)] * 3]


def ensemble_of(scratch: Path, inner: dict[str, Any], **changes: Any) -> Ensemble:
    """Return an ensemble of one step, a model with the configuration *inner*."""
    own(scratch)
    step = {"model_name": "own", "input_map": {"x": "x"}, "output_map": {"y": "y"}}
    config = {**CONFIG, "ensemble_scheduling": {"step": [step]}, **changes}
    config.pop("dynamic_batching")
    host = host_of(scratch, config)
    job = {"model": str(scratch.parent / "own"), "version": "1", "file": "model.py"}
    neighbours = Neighbours({"neighbours": {"own": {**job, "config": {**inner, "name": "own"}}}, **host.job})
    return Ensemble(host, lambda _, work, *args: work(*args), neighbours)


@pytest.mark.parametrize(
    ("inner", "changes", "told"),
    [
        ({"max_batch_size": 1}, {}, "batch-size must be <= 1"),
        ({"input": [field("x", "FP64", [3])]}, {}, "data-type is 'FP32', but model 'own' expects 'FP64'"),
        ({}, {"output": [field("y", "INT32", [3])]}, "outputs are not as config.pbtxt describes them"),
    ],
)
def test_an_ensemble_that_does_not_fit_its_steps_is_not_answered(
    scratch: Path, inner: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    ensemble = ensemble_of(scratch, {**CONFIG, **inner}, **changes)
    try:
        with pytest.raises(Exception, match=told):
            ensemble.serve({})
    finally:
        ensemble.neighbours.close()


def test_an_ensemble_is_its_steps(scratch: Path) -> None:
    ensemble = ensemble_of(scratch, CONFIG)
    found: dict[str, Any] = {}
    try:
        ensemble.serve(found)
    finally:
        ensemble.neighbours.close()
    assert found["cases"] == ["1", "2"]
    assert found["differs"] == []
    assert ensemble.finish() is None
    with np.load(scratch / "outputs.npz") as saved:
        assert saved["2#0/y"].tolist() == [[4.0] * 3] * 2


# -- what the runtime serves -----------------------------------------------------------------------


def runtime_model(scratch: Path, source: str, **parameters: str) -> RuntimeModel:
    folder = scratch.parent / "own" / "1"
    folder.mkdir(parents=True)
    (folder / "net.py").write_text(source)
    (folder / "model.py").symlink_to(RUNTIME)
    (folder / "_torch_runtime").symlink_to(RUNTIME.parent / "_torch_runtime")
    config = described(
        [field("x", "FP32", [3])], [field("y", "FP32", [3])], max_batch_size=4, parameters=parameters
    )
    config["default_model_filename"] = "model.py"
    host = host_of(scratch, config)
    host.import_file()
    return RuntimeModel(host, lambda _, work, *args: work(*args), "CPU")


@pytest.mark.torch
def test_the_options_are_the_models_own_or_ones_that_need_no_compiler(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = '{"mode": "max-autotune", "dynamic": true}'
    model = runtime_model(scratch, LINEAR, TORCH_COMPILE_OPTIONAL_PARAMETERS=asked)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(scratch))
    found: dict[str, Any] = {}
    assert model.options(found) == {"backend": "aot_eager", "dynamic": True}
    assert (found["compiler"], found["backend"]) == (None, "aot_eager")
    monkeypatch.setenv("CXX", "none")
    assert model.options(found) == {"mode": "max-autotune", "dynamic": True}, "named, it has to be there"
    assert found["backend"] == "inductor"


def test_a_compiler_is_found_as_inductor_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cpp_compiler() is None
    for name in ("c++", "clang++", "own"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert cpp_compiler() == str(tmp_path / "clang++")
    monkeypatch.setenv("CXX", "own")
    assert cpp_compiler() == str(tmp_path / "own")
    monkeypatch.setenv("CXX", "g++")
    assert cpp_compiler() is None, "nothing stands in for the one that is named"


@pytest.mark.torch
def test_what_is_drawn_at_random_is_the_same_again() -> None:
    import torch

    def drawn(number: int) -> list[float]:
        seed(number)
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.torch
def test_graphs_are_counted_where_dynamo_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = unique_graphs()
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    assert unique_graphs() == before + 1
    torch._dynamo.reset()
    monkeypatch.delitem(sys.modules, "torch._dynamo.utils")
    assert unique_graphs() == 0
