"""The stages of a probe: each is tried where a server meets it, and what failed is kept with its stage."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.guest.host import Host, stand_in
from envbuilder.guest.neighbours import Neighbours
from envbuilder.guest.probe import Probe, outside_modules
from envbuilder.guest.serving import StageError

OWN = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        x = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", one * 2)]) for one in x]

    def finalize(self):
        pass
"""


class Made:
    """A probe of a model of the user's, and what it keeps."""

    def __init__(self, tmp_path: Path, source: str, **rest: Any) -> None:
        (tmp_path / "own" / "1").mkdir(parents=True)
        (tmp_path / "own" / "1" / "model.py").write_text(source)
        inputs: dict[str, Any] = {"1/x": np.ones((1,), np.float32)}
        np.savez(tmp_path / "inputs.npz", **inputs)
        self.found: dict[str, Any] = {}
        self.kept: list[str] = []
        job = {
            "task": "probe",
            "own": True,
            "brief": True,
            "model": str(tmp_path / "own"),
            "version": "1",
            "file": "model.py",
            "config": {
                "name": "own",
                "max_batch_size": 0,
                "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
                "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
            },
            "inputs": str(tmp_path / "inputs.npz"),
            "outputs": str(tmp_path / "outputs.npz"),
            "scratch": str(tmp_path),
            "caches": [],
            **rest,
        }
        self.probe = Probe(
            Host(job),
            self.found,
            outside=str(tmp_path / "outside"),
            keep=lambda: self.kept.append(json.dumps(self.found)),
        )


@pytest.fixture(autouse=True)
def _alone(pb: Any) -> Iterator[None]:
    before = stand_in().use_router(Neighbours({}))  # which knows no other model
    yield
    stand_in().use_router(before)


def test_a_model_that_works(tmp_path: Path) -> None:
    made = Made(tmp_path, OWN)
    made.probe.run()
    assert "failed" not in made.found
    assert made.found["CPU"]["cases"] == ["1"]
    assert made.found["unknown"] == []
    assert "torch" not in made.found, "brief: the environment was looked at before"
    assert not [name for name in made.found["modules"] if str(tmp_path) in name], "the model's own"
    assert {"json", "os.path"} <= set(made.found["imported"])
    made.probe.finish()
    assert "finalize" not in made.found["CPU"]
    (kept,) = made.kept
    assert json.loads(kept)["CPU"]["finalize"].startswith("its process exited"), "if it ends the process"


def test_a_stage_that_fails_is_named(tmp_path: Path) -> None:
    made = Made(tmp_path, "import no_such_module\n")
    made.probe.run()
    failed = made.found["failed"]
    assert (failed["stage"], failed["missing"]) == ("runtime", "no_such_module")
    assert failed["text"] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert "model.py" in failed["trace"]
    assert "CPU" not in made.found
    made.probe.finish()  # there is nothing to unload
    assert made.kept == []


def test_the_inputs_that_were_refused_are_told(tmp_path: Path) -> None:
    made = Made(tmp_path, OWN.replace("one * 2", "one[5]"))
    made.probe.run()
    failed = made.found["failed"]
    assert (failed["stage"], failed["inputs"]) == ("answer", "x float32[1]")
    assert failed["otherwise"] is False


def test_a_stage_within_a_stage_keeps_its_name(tmp_path: Path) -> None:
    made = Made(tmp_path, OWN)

    def inner() -> None:
        made.probe.stage("inner", lambda: 1 / 0)

    with pytest.raises(StageError):
        made.probe.stage("outer", inner)
    assert made.found["failed"]["stage"] == "inner"
    assert made.probe.stage("another", lambda a, b: a + b, 1, 2) == 3


def test_a_model_that_calls_one_that_is_not_there(tmp_path: Path) -> None:
    call = "pb_utils.InferenceRequest(model_name='other', inputs=[], requested_output_names=['y']).exec()"
    made = Made(tmp_path, OWN.replace("x = [", call + "\n        x = ["))
    made.probe.run()
    assert made.found["unknown"] == ["it calls the model 'other', which is not available"]


def test_a_child_starts_without_help(tmp_path: Path) -> None:
    child = Made(tmp_path, OWN).probe.run_child()
    assert child == {"executable": sys.executable, "returncode": "0", "output": sys.prefix}


def test_what_is_imported_says_its_version(tmp_path: Path) -> None:
    assert Made(tmp_path, OWN).probe.import_numpy() == np.__version__


def test_modules_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "inside-not"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / f"{folder.name.replace('-', '_')}_probed.py").write_text("")
    monkeypatch.syspath_prepend(str(inside))
    monkeypatch.syspath_prepend(str(outside))
    for name in ("inside_probed", "inside_not_probed"):
        __import__(name)
    found = outside_modules([str(inside)])
    assert f"inside_not_probed ({outside}/inside_not_probed.py)" in found
    assert not [one for one in found if one.startswith("inside_probed ")]
    assert not [one for one in found if one.startswith("sys ")], "what is built in comes from nowhere"
    (tmp_path / "link").symlink_to(outside)
    assert not [one for one in outside_modules([str(tmp_path / "link")]) if "_not_probed" in one]
