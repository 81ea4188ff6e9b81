"""Which keys of a file are which of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.linear import X, expected, layer
from tests.helpers.runtime import LINEAR, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


def state(before: str = "linear.") -> dict[str, torch.Tensor]:
    return {f"{before}{key}": value for key, value in layer().state_dict().items()}


def served(serve: Serve, saved: dict[str, Any], source: str = LINEAR, **parameters: str) -> bool:
    """Say whether a model answers as the layer does whose weights *saved* has."""
    serve.write(source)
    torch.save(saved, serve.folder() / "model.pt")
    answer = serve.load(simple(**parameters)).infer(x=X)["y"]
    return bool(np.allclose(answer, expected(layer()), rtol=1e-5))


@pytest.mark.parametrize(
    "before",
    [
        "linear._orig_mod.",
        "linear.module.",
        "_fsdp_wrapped_module.linear._fsdp_wrapped_module.",
        "module.linear._checkpoint_wrapped_module.",
        "net.linear._orig_mod.",
    ],
)
def test_wrappers_of_single_layers(serve: Serve, before: str) -> None:
    assert served(serve, state(before))
    assert serve.warnings() == []


def test_a_model_whose_layer_is_compiled(serve: Serve) -> None:
    compiled = "torch.compile(torch.nn.Linear(4, 3, bias=bias), backend='eager')"
    source = LINEAR.replace("torch.nn.Linear(4, 3, bias=bias)", compiled)
    assert served(serve, state(), source)


def test_the_model_among_what_it_was_trained_with(serve: Serve) -> None:
    others = {"loss.weight": torch.ones(3), "accuracy.total": torch.ones(())}
    assert served(serve, {"state_dict": {**state("model.linear."), **others}, "epoch": 3})
    assert serve.warnings() == [
        "net: model.pt has loss.weight, accuracy.total, which Net has no place for: not loaded"
    ]


def test_a_model_and_its_average_side_by_side(serve: Serve) -> None:
    both = {**state("model.linear."), **{key: value + 1 for key, value in state("ema.linear.").items()}}
    serve.write(LINEAR)
    torch.save(both, serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt holds several state_dicts that fit, below ema. and model.; say which: MODEL_WEIGHTS "
        "model.pt#ema., for instance"
    )
    assert served(serve, both, MODEL_WEIGHTS="model.pt#model.")


def test_a_few_keys_of_a_large_file_are_no_model(serve: Serve) -> None:
    serve.write(LINEAR)
    others = {f"layer{number}.weight": torch.ones(1) for number in range(5)}
    torch.save({**state("head.linear."), **others}, serve.folder() / "model.pt")
    assert serve.error(simple()).startswith("model.pt does not fit Net: missing: linear.weight, linear.bias")


def test_a_state_dict_two_levels_down(serve: Serve) -> None:
    assert served(
        serve, {"checkpoint": {"model": state(), "step": 3}, "optimizer": {"state": {"a": state()}}}
    )


EXTRA = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.scale = 0

    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state):
        self.scale = state["scale"]

    def forward(self, x):
        return self.linear(x) * self.scale
"""


def test_what_a_module_keeps_beside_its_tensors(serve: Serve) -> None:
    assert served(serve, {**state(), "_extra_state": {"scale": 1}}, EXTRA)
