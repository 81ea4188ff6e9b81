"""Files that may hold weights and that nothing reads: a model with random weights must not be READY beside them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from envbuilder.deployment.unread_weights import find_elsewhere
from tests.helpers.runtime import LINEAR, simple
from tests.runtime.conftest import Serve


@pytest.mark.parametrize(
    "name", ["weights.joblib", "weights.dill", "weights", "best.model", "inside/net.dat", "weights.p"]
)
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.torch
def test_weights_that_python_pickled(serve: Serve, name: str, protocol: int) -> None:
    serve.write(LINEAR)
    path = serve.folder() / name
    path.parent.mkdir(exist_ok=True)
    state = {key: value.numpy() for key, value in torch.nn.Linear(4, 3).state_dict().items()}
    path.write_bytes(pickle.dumps(state, protocol=protocol))
    assert serve.error(simple()).startswith(f"Net has parameters, and nothing has read {name}: ")
    serve.load(simple(MODEL_WEIGHTS="none"))


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("model.nemo", b"tar", True),
        ("model.mar", b"PK", True),
        ("weights.joblib", b"x\x9c", True),  # compressed
        ("net.engine", b"ftrt", True),
        ("words.txt", b"\x80 and more", False),
        ("labels.json", b"{}", False),
        ("picture.png", b"\x89PNG", False),
        ("empty", b"", False),
    ],
)
def test_what_may_hold_weights(tmp_path: Path, name: str, content: bytes, found: bool) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / name).write_bytes(content)
    assert find_elsewhere(str(tmp_path / "1")) == [name] * found


def test_nobody_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert find_elsewhere(str(tmp_path)) == []


def test_arrays_are_named_by_their_path(tmp_path: Path) -> None:
    inside = tmp_path / "1" / "deep" / "er"
    inside.mkdir(parents=True)
    np.savez(inside / "net.npz", a=np.zeros(1))
    assert find_elsewhere(str(tmp_path / "1")) == ["deep/er/net.npz"]
