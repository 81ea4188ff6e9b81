"""Which calls of a model's own code count as loading its weights."""

from __future__ import annotations

import cProfile
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import load_runtime

pytestmark = pytest.mark.torch


def watched() -> Any:
    return load_runtime().runtime_module("evidence").Evidence()


@pytest.mark.parametrize("give", [str, Path, lambda path: path.open("rb")], ids=["name", "path", "file"])
def test_a_file_that_torch_loads_is_known(tmp_path: Path, give: Callable[[Path], Any]) -> None:
    path = tmp_path / "weights.bin"
    torch.save({"a": torch.ones(1)}, path)
    given = give(path)
    with watched() as evidence:
        torch.load(given, weights_only=True)
    if isinstance(given, io.IOBase):
        given.close()
    assert evidence.loaded
    assert evidence.has_read(str(path))
    other = tmp_path / "elsewhere" / "weights.bin"
    other.parent.mkdir()
    other.touch()
    assert not evidence.has_read(str(other))


def test_an_array_that_numpy_loads_is_known(tmp_path: Path) -> None:
    path = tmp_path / "weights.npy"
    np.save(path, np.ones(2))
    with watched() as evidence:
        np.load(path)
    assert evidence.has_read(str(path))


def test_other_functions_of_the_name_are_none() -> None:
    def load(f: str) -> str:
        return f

    with watched() as evidence:
        load("weights.bin")
    assert not evidence.loaded


def test_a_profiler_of_the_user_goes_on() -> None:
    calls: list[str] = []

    def profiler(frame: Any, event: str, argument: Any) -> None:
        calls.append(event)

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        with watched():
            pass
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)
    assert calls


def test_a_profiler_that_cannot_be_set_again_is_no_error() -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        with watched():
            pass
        assert sys.getprofile() is None
    finally:
        profiler.disable()


@pytest.mark.parametrize(("source", "found"), [("torch.load(path)", True), ("loader = download()", False)])
def test_words_of_the_source(tmp_path: Path, source: str, found: bool) -> None:
    (tmp_path / "helper.py").write_text(f"def f():\n    {source}\n")
    (tmp_path / "notes.txt").write_text("load(")
    assert load_runtime().runtime_module("evidence").may_load(str(tmp_path)) is found


def test_a_folder_covers_what_is_found_in_it(tmp_path: Path) -> None:
    for name in (
        "model.safetensors",
        "model.fp16.safetensors",
        "pytorch_model-00001-of-00002.bin",
        "head.pt",
    ):
        (tmp_path / name).write_bytes(b"")
    evidence = watched()
    evidence.paths.append(str(tmp_path))
    assert evidence.has_read(str(tmp_path / "model.safetensors"))
    assert evidence.has_read(str(tmp_path / "model.fp16.safetensors"))
    assert evidence.has_read(str(tmp_path / "pytorch_model-00001-of-00002.bin"))
    assert not evidence.has_read(str(tmp_path / "head.pt"))
    assert not evidence.has_read(str(tmp_path / "gone.pt"))


def test_which_parameters_were_given_weights() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with watched() as evidence:
        layers[0].load_state_dict(layers[1].state_dict())
    assert evidence.gave_all(layers[0])
    assert not evidence.gave_all(layers)
    with evidence:
        layers[1].load_state_dict(layers[0].state_dict())
    assert evidence.gave_all(layers)


def test_a_load_that_failed_is_none(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x")
    with watched() as evidence:
        for one in (path, tmp_path / "absent.bin"):
            with pytest.raises(Exception, match=r"."):
                torch.load(one, weights_only=True)
    assert not evidence.loaded
    assert evidence.paths == []


def test_parameters_that_no_load_gave(tmp_path: Path) -> None:
    body, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    with watched() as evidence:
        body.load_state_dict(torch.nn.Linear(2, 2).state_dict())
    assert evidence.ungiven(torch.nn.Sequential(body, head)) == ["1.weight", "1.bias"]
    assert evidence.ungiven(body) == []
