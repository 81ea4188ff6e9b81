"""Other models of a repository: each in a process of its own, asked through a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.guest.neighbours import Neighbours, find_fault

DOUBLE = """
import os, sys
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.times = int(args["model_config"].count("times") + 2)

    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            if (x == 13).any():
                os._exit(5)
            if (x < 0).any():
                raise ValueError("below zero")
            pid = np.array([os.getpid()], np.int32)
            answers.append(pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", x * self.times), pb_utils.Tensor("pid", pid)]))
        return answers
"""
CALLER = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x")
            inner = pb_utils.InferenceRequest(model_name=NAME, requested_output_names=["y"], inputs=[x])
            answer = inner.exec()
            if answer.has_error():
                raise pb_utils.TritonModelException(answer.error().message())
            answers.append(pb_utils.InferenceResponse([answer.output_tensors()[0]]))
        return answers
"""
X = np.array([[1.0, 2.0]], np.float32)


def described(name: str, **rest: Any) -> dict[str, Any]:
    return {
        "name": name,
        "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}],
        "output": [
            {"name": "y", "data_type": "TYPE_FP32", "dims": [-1, 2]},
            {"name": "pid", "data_type": "TYPE_INT32", "dims": [1]},
        ],
        **rest,
    }


class Models:
    """Writes models, and asks them."""

    def __init__(self, root: Path) -> None:
        self.root, self.known = root, {}  # type: ignore[var-annotated]  # a job for each
        (root / "scratch").mkdir()

    def add(self, name: str, source: str, **config: Any) -> None:
        folder = self.root / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(source)
        self.known[name] = {
            "model": str(folder.parent),
            "version": "1",
            "file": "model.py",
            "config": described(name, **config),
        }

    def neighbours(self) -> Neighbours:
        return Neighbours({"neighbours": self.known, "scratch": str(self.root / "scratch")})


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


@pytest.fixture
def asking(models: Models) -> Iterator[Neighbours]:
    models.add("double", DOUBLE)
    neighbours = models.neighbours()
    yield neighbours
    neighbours.close()


def test_a_model_is_loaded_once_and_asked_in_its_own_process(asking: Neighbours, pb: Any) -> None:
    ((first,),) = [asking.answer("double", {"x": X}, [])]
    ((second,),) = [asking.answer("double", {"x": X * 3}, ["y"])]
    assert first["y"].tolist() == [[2.0, 4.0]]
    assert first["pid"].tolist() == [asking.children["double", "1"].process.pid]
    assert set(second) == {"y"}, "what was not asked for is not sent"
    process = asking.children["double", "1"].process
    asking.close()
    assert process.returncode == 0
    assert asking.children == {}


def test_its_errors_are_the_servers(asking: Neighbours, pb: Any) -> None:
    with pytest.raises(pb.TritonModelException, match="below zero"):
        asking.answer("double", {"x": -X}, [])
    assert asking.answer("double", {"x": X}, ["y"])[0]["y"].tolist() == [[2.0, 4.0]], "it goes on"
    with pytest.raises(pb.TritonModelException, match="the process of model 'double' ended with 5"):
        asking.answer("double", {"x": X + 12}, [])
    assert asking.unknown == []


def test_a_model_that_is_not_there_cannot_be_loaded(asking: Neighbours, pb: Any) -> None:
    """In the words of a server of 24.10."""
    with pytest.raises(
        pb.TritonModelException,
        match=r"^Failed to load model: Failed to process the request for model '\w*_0', message: failed to load "
        r"'absent', failed to poll from model repository$",
    ):
        asking.load("absent", "", {})
    assert asking.unknown == ["it loads the model 'absent', which is not available"]


def test_it_is_loaded_again_with_another_configuration(asking: Neighbours, pb: Any) -> None:
    asking.answer("double", {"x": X}, [])
    before = asking.children["double", "1"].process
    asking.load("double", '{"parameters": {"times": {"string_value": "more"}}}', {})
    assert before.returncode == 0
    assert asking.answer("double", {"x": X}, ["y"])[0]["y"].tolist() == [[3.0, 6.0]]
    asking.unload("double", False)
    asking.unload("double", False)
    assert asking.children == {}
    with pytest.raises(pb.TritonModelException, match="this needs a server"):
        asking.load("double", "", {"file:1/model.py": b""})
    assert asking.unknown == ["load_model('double') with files that the model generates"]


def test_what_is_not_there_is_noted(models: Models, pb: Any) -> None:
    models.known["apart"] = {"reason": "which runs in another environment", "config": described("apart")}
    models.known["bad"] = {"reason": "which no server can load: it has no version"}
    neighbours = models.neighbours()
    assert neighbours.ready("apart", "1")
    assert not neighbours.ready("bad", "1")
    assert not neighbours.ready("none", "1")
    with pytest.raises(pb.TritonModelException, match="Model 'none' is not ready"):
        neighbours.answer("none", {"x": X}, [])
    with pytest.raises(pb.TritonModelException, match="this needs a server"):
        neighbours.answer("apart", {"x": X}, [])
    assert neighbours.unknown == [
        "it calls the model 'none', which is not available",
        "it calls the model 'apart', which runs in another environment",
    ]


def test_a_model_that_does_not_load(models: Models, pb: Any) -> None:
    models.add("broken", "raise OSError('no disk')\n")
    neighbours = models.neighbours()
    with pytest.raises(pb.TritonModelException, match="Model 'broken' is not ready: OSError: no disk"):
        neighbours.answer("broken", {"x": X}, [])
    assert neighbours.children == {}


def test_a_model_that_asks_another(models: Models, pb: Any) -> None:
    models.add("double", DOUBLE)
    models.add("caller", CALLER.replace("NAME", "'double'"))
    models.add("lost", CALLER.replace("NAME", "'nowhere'"))
    neighbours = models.neighbours()
    try:
        assert neighbours.answer("caller", {"x": X}, ["y"])[0]["y"].tolist() == [[2.0, 4.0]]
        with pytest.raises(pb.TritonModelException, match="Model 'nowhere' is not ready"):
            neighbours.answer("lost", {"x": X}, ["y"])
        assert neighbours.unknown == ["it calls the model 'nowhere', which is not available"]
    finally:
        neighbours.close()


def request(pb: Any, name: str, version: int = -1) -> Any:
    x = [pb.Tensor("x", X)]
    return pb.InferenceRequest(model_name=name, model_version=version, requested_output_names=["y"], inputs=x)


def test_an_older_version_is_called_in_its_own_process(models: Models, pb: Any) -> None:
    models.add("double", DOUBLE)
    folder = models.root / "double" / "3"
    folder.mkdir()
    (folder / "model.py").write_text(DOUBLE.replace("x * self.times", "x + 100"))
    older = models.known["double"]
    models.known["double"] = {**older, "version": "3", "versions": {"1": older}}
    (models.root / "double" / "2").mkdir()  # which is not served
    neighbours = models.neighbours()
    try:
        for version, first in ((-1, 101), (3, 101), (1, 2)):
            (answer,) = neighbours.infer(request(pb, "double", version), decoupled=False)
            assert answer.output_tensors()[0].as_numpy()[0, 0] == first
        assert list(neighbours.children) == [("double", "3"), ("double", "1")]
        assert [neighbours.ready("double", version) for version in ("", "3", "1", "2")] == [
            True,
            True,
            True,
            False,
        ]
        with pytest.raises(pb.TritonModelException, match="Model 'double' is not ready"):
            neighbours.infer(request(pb, "double", 2), decoupled=False)
        assert neighbours.unknown == []
        neighbours.unload("double", False)
        assert neighbours.children == {}
    finally:
        neighbours.close()


AGAIN = CALLER.replace(
    'x = pb_utils.get_input_tensor_by_name(request, "x")',
    """x = pb_utils.get_input_tensor_by_name(request, "x")
            if x.as_numpy()[0, 0] < 2:
                answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x.as_numpy())]))
                continue
            x = pb_utils.Tensor("x", x.as_numpy() - 1)""",
)
"""Calls another model, or itself, with less, until it is small enough."""


@pytest.mark.parametrize("through", ["itself", "other"])
@pytest.mark.parametrize(("count", "able"), [(1, False), (2, True)])
def test_a_model_that_calls_itself_has_as_many_instances_as_it_has(
    models: Models, pb: Any, through: str, count: int, able: bool
) -> None:
    models.add("itself", AGAIN.replace("NAME", f"'{through}'"), instance_group=[{"count": count}])
    models.add("other", CALLER.replace("NAME", "'itself'"), instance_group=[{"count": count}])
    own = models.known["itself"]
    neighbours = Neighbours({**own, "neighbours": models.known, "scratch": str(models.root / "scratch")})
    try:
        if able:
            (answer,) = neighbours.infer(request(pb, through), decoupled=False)
            assert answer.output_tensors()[0].as_numpy()[0, 0] == 1
            assert neighbours.unknown == []
        else:
            with pytest.raises(pb.TritonModelException, match="this needs a server"):
                neighbours.infer(request(pb, through), decoupled=False)
            assert neighbours.unknown == [
                "it calls 'itself' while all of its instances (1) may be waiting for that call"
            ]
    finally:
        neighbours.close()


def test_an_ensemble_is_answered_by_its_steps(models: Models, pb: Any) -> None:
    models.add("double", DOUBLE)
    step = {"model_name": "double", "input_map": {"x": "x"}, "output_map": {"y": "y"}}
    ensemble = described("both", ensemble_scheduling={"step": [step]})
    models.known["both"] = {"config": {**ensemble, "output": ensemble["output"][:1]}}
    neighbours = models.neighbours()
    try:
        assert neighbours.answer("both", {"x": X}, [])[0]["y"].tolist() == [[2.0, 4.0]]
    finally:
        neighbours.close()


def test_a_decoupled_model_is_asked_as_one_or_not_at_all(models: Models, pb: Any) -> None:
    models.add("ticker", DOUBLE, model_transaction_policy={"decoupled": True})
    neighbours = models.neighbours()
    with pytest.raises(pb.TritonModelException, match="ticker is using the decoupled"):
        neighbours.infer(request(pb, "ticker"), decoupled=False)
    assert neighbours.children == {}


CONFIG = {
    "name": "echo",
    "max_batch_size": 2,
    "input": [
        {"name": "X", "data_type": "TYPE_FP32", "dims": ["3"]},
        {"name": "T", "data_type": "TYPE_STRING", "dims": ["-1"], "optional": True},
    ],
    "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": ["3"]}],
}
RIGHT = np.ones((2, 3), np.float32)
UNKNOWN = "[request id: <id_unknown>] "
CASES: list[tuple[dict[str, Any], list[str], str | None]] = [
    ({"X": RIGHT}, ["Y"], None),
    ({"X": RIGHT, "T": np.array([["a", "b"]], dtype=object)}, [], None),
    ({"X": RIGHT}, ["Z"], "unexpected inference output 'Z' for model 'echo'"),
    ({"X": RIGHT, "Q": RIGHT}, [], "unexpected inference input 'Q' for model 'echo'"),
    (
        {},
        [],
        f"{UNKNOWN}expected 2 inputs but got 0 inputs for model 'echo'. Got input(s) [], but missing required input(s) "
        "['X']. Please provide all required input(s).",
    ),
    (
        {"X": RIGHT.astype(np.int32)},
        [],
        f"{UNKNOWN}inference input 'X' data-type is 'INT32', but model 'echo' expects 'FP32'",
    ),
    (
        {"X": RIGHT[:, :2]},
        [],
        f"{UNKNOWN}unexpected shape for input 'X' for model 'echo'. Expected [-1,3], got [2,2]. ",
    ),
    (
        {"X": np.ones((3, 3), np.float32)},
        [],
        f"{UNKNOWN}inference request batch-size must be <= 2 for model 'echo'",
    ),
]
"""Texts of a server of 24.10."""


@pytest.mark.parametrize(("inputs", "wanted", "told"), CASES)
def test_a_request_that_does_not_fit_the_other_model(
    pb: Any, inputs: dict[str, Any], wanted: list[str], told: str | None
) -> None:
    assert find_fault(CONFIG, [pb.Tensor(name, array) for name, array in inputs.items()], wanted) == told
