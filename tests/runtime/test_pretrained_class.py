"""Which class of transformers a folder's configuration names, with a stand-in for the library."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch

from tests.helpers.runtime import load_runtime

pytestmark = pytest.mark.torch


class Net(torch.nn.Linear):
    """Stands in for a class of models."""

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        super().__init__(4, 3)


class Tokenizer:
    """Stands in for what is no model, and has ``from_pretrained``, too."""

    from_pretrained = None


class Auto:
    """Stands in for AutoModel."""

    _model_mapping = {types.SimpleNamespace: Net}  # noqa: RUF012  # as the library's


LIBRARY = types.SimpleNamespace(
    Net=Net, Tokenizer=Tokenizer, AutoModel=Auto, pipeline=len, __version__="5.0.0"
)


def module() -> Any:
    return load_runtime().runtime_module("pretrained_class")


def named(architectures: Any) -> Any:
    return module().named_class(LIBRARY, types.SimpleNamespace(architectures=architectures), trusts=False)


@pytest.mark.parametrize("architectures", [["Net"], "Net", ["Other", "Net"], ["Tokenizer", "Net"], ("Net",)])
def test_the_first_that_exists(architectures: Any) -> None:
    assert named(architectures) is Net


@pytest.mark.parametrize("architectures", [None, [], ()])
def test_no_class_is_named(architectures: Any) -> None:
    assert named(architectures) is Auto


@pytest.mark.parametrize(
    ("architectures", "told"),
    [
        (["Tokenizer"], "config.json names Tokenizer in architectures, which is not a class of models"),
        ("pipeline", "config.json names pipeline in architectures, which is not a class of models"),
        (["Other"], "config.json names Other, which transformers 5.0.0 has not"),
        ([3], r"config.json: architectures must be a list of names of classes, not \[3\]"),
        ({"a": 1}, "config.json: architectures must be a list of names of classes, not {'a': 1}"),
    ],
)
def test_what_is_no_class_of_models(architectures: Any, told: str) -> None:
    with pytest.raises(load_runtime().runtime_module("errors").ModelError, match=f"^{told}$"):
        named(architectures)


def test_what_makes_models() -> None:
    made = list(map(module().makes_models, (Net, Auto, Tokenizer, len, Net(None))))
    assert made == [True, True, False, False, False]


def test_a_pooler_that_can_be_left_out() -> None:
    config, without_pooler = types.SimpleNamespace(), module().without_pooler
    missing = ["pooler.dense.bias", "bert.pooler.dense.weight"]
    assert without_pooler(Net, config, missing)
    assert without_pooler(Auto, config, missing)
    assert not without_pooler(Auto, Net, missing)  # the library has no class for this configuration
    assert not without_pooler(Net, config, [*missing, "head.weight"])
    assert not without_pooler(Net, config, [])
    assert not without_pooler(torch.nn.Linear, config, missing)
