"""A folder of timm's: what it is made with, and what may be wrong. tests/runtime/test_pretrained_server.py has timm."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.runtime import load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch

TRAINED = {"input_size": [4, 96, 96], "num_classes": 1000, "fixed_input_size": True, "mean": [0.5]}
NEW = {
    "architecture": "net",
    "num_classes": 3,
    "num_features": 64,
    "global_pool": "avg",
    "model_args": {"num_classes": 3, "depth": 2, "global_pool": None},
    "pretrained_cfg": TRAINED,
}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NEW, {"num_classes": 3, "in_chans": 4, "img_size": [96, 96], "depth": 2}),
        (
            {**NEW, "model_args": {"img_size": [64, 64]}},
            {"num_classes": 3, "global_pool": "avg", "in_chans": 4, "img_size": [64, 64]},
        ),
        (
            {"architecture": "net", **TRAINED, "fixed_input_size": False},
            {"num_classes": 1000, "in_chans": 4},
        ),
        ({"architecture": "net", "pretrained_cfg": []}, {}),
    ],
    ids=["as it is written", "an argument goes before the training", "before 0.9", "of nothing"],
)
def test_arguments(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert load_runtime().runtime_module("timm_folder").arguments(config) == expected


@pytest.fixture
def timm(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A folder of timm's beside a library that makes one layer."""

    def create_model(name: str, num_classes: int, in_chans: int, **_: Any) -> torch.nn.Module:
        if name != "net":
            raise RuntimeError(f"Unknown model ({name})")
        return torch.nn.Linear(in_chans, num_classes)

    library = types.ModuleType("timm")
    library.__version__ = "1.0.0"  # type: ignore[attr-defined]
    library.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", library)
    save_file({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, serve.folder() / "model.safetensors")
    (serve.folder() / "config.json").write_text(json.dumps(NEW))
    return serve


def test_it_is_made_and_gets_its_weights(timm: Serve) -> None:
    x = np.ones((2, 4), dtype=np.float32)
    np.testing.assert_array_equal(timm.load(simple()).infer(x=x)["y"], np.full((2, 3), 4.0))
    assert timm.warnings() == []


def test_kwargs_go_before_what_is_written(timm: Serve) -> None:
    told = timm.error(simple(MODEL_KWARGS='{"in_chans": 5}'))
    assert told.endswith("weight has the shape [3, 4], the model [3, 5]")


def test_a_folder_without_weights(timm: Serve) -> None:
    (timm.folder() / "model.safetensors").unlink()
    assert timm.error(simple()) == f"{timm.folder()} contains a config.json but no weights"
    timm.load(simple(MODEL_WEIGHTS="none"))


def test_a_model_that_this_timm_has_not(timm: Serve) -> None:
    (timm.folder() / "config.json").write_text(json.dumps({**NEW, "architecture": "newer"}))
    assert timm.error(simple()) == (
        "timm 1.0.0 cannot make the newer of config.json: RuntimeError: Unknown model (newer)"
    )


def test_an_environment_without_timm(timm: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert timm.error(simple()) == (
        "the version folder is a model of timm, and the environment has no module 'timm': "
        "add timm to the recipe's dependencies"
    )


def test_a_torchvision_that_cannot_be_imported(timm: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "timm")
    code = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    timm.write(code, name="net", version="1", file="timm.py")
    assert timm.error(simple()).startswith(
        "timm cannot be imported: RuntimeError: operator torchvision::nms does not exist; its torchvision was built "
        "for another torch: "
    )
