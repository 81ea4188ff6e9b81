"""Models that need no ``model.py``: what of it needs no library."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.runtime import LINEAR, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
SHAPE = json.dumps({"in_features": 4, "out_features": 3})


def test_a_class_of_a_library(serve: Serve) -> None:
    linear = torch.nn.Linear(4, 3)
    save_file(dict(linear.state_dict()), serve.folder() / "pytorch_model.safetensors")
    model = serve.load(simple(MODEL_CLASS="torch.nn:Linear", MODEL_KWARGS=SHAPE))
    with torch.no_grad():
        expected = linear(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(model.infer(x=X)["y"], expected, rtol=1e-6)
    assert serve.warnings() == []
    assert any("the network is not used" in text for _, text in serve.pb.Logger.lines)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_function_beside_the_weights_that_makes_the_model(serve: Serve) -> None:
    serve.write(LINEAR + "\ndef small():\n    return Net(bias=False)\n", file="zoo.py")
    torch.save({"linear.weight": torch.ones(3, 4)}, serve.folder() / "model.pt")
    model = serve.load(simple(MODEL_CLASS="zoo:small"))
    np.testing.assert_allclose(model.infer(x=X)["y"][:, 0], X.sum(1), rtol=1e-6)


def test_a_class_without_weights_is_refused(serve: Serve) -> None:
    serve.folder()
    assert serve.error(simple(MODEL_CLASS="torch.nn:Linear", MODEL_KWARGS=SHAPE)) == (
        "Linear has parameters and the version folder no weights: weight, bias would be random. Put the weights there; "
        'MODEL_WEIGHTS: "none" serves what torch.nn:Linear returns as it is'
    )


def test_a_class_that_is_served_as_constructed_where_that_is_said(serve: Serve) -> None:
    serve.folder()
    serve.load(simple(MODEL_CLASS="torch.nn:Linear", MODEL_KWARGS=SHAPE, MODEL_WEIGHTS="none"))


@pytest.mark.parametrize("name", ["small", "made"])
def test_code_beside_the_weights_that_reads_them(serve: Serve, name: str) -> None:
    text = """
import os

def small():
    net = Net(bias=False)
    net.load_state_dict(torch.load(os.path.join(os.path.dirname(__file__), "model.pt")))
    return net

made = small()
"""
    serve.write(LINEAR + text, file="zoo.py")
    torch.save({"linear.weight": torch.ones(3, 4)}, serve.folder() / "model.pt")
    model = serve.load(simple(MODEL_CLASS=f"zoo:{name}"))
    np.testing.assert_allclose(model.infer(x=X)["y"][:, 0], X.sum(1), rtol=1e-6)
    assert serve.warnings() == []


def test_two_models_whose_code_has_one_name(serve: Serve) -> None:
    for name, value in (("one", 1.0), ("two", 2.0)):
        text = "import torch\n\ndef make():\n    return Twice()\n\nclass Twice(torch.nn.Module):\n"
        text += f"    def forward(self, x):\n        return x[:, :3] * {value}\n"
        serve.write(text, name, file="zoo.py")
    answers = [serve.load(simple(MODEL_CLASS="zoo:make"), name).infer(x=X)["y"] for name in ("one", "two")]
    np.testing.assert_allclose(answers[1], 2 * answers[0])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "no_such_library:Net",
            "MODEL_CLASS: the environment has no module 'no_such_library': "
            "add no-such-library to the recipe's dependencies",
        ),
        ("torch.nn:Linearr", "MODEL_CLASS: torch.nn has no 'Linearr'"),
        ("torch:float32", "MODEL_CLASS: torch:float32 is a dtype, not a class or a function"),
        (":Net", "MODEL_CLASS must be module:name, not ':Net'"),
        ("torch.nn:", "MODEL_CLASS must be module:name, not 'torch.nn:'"),
        ("torch:zeros", "zeros returned a Tensor, not an nn.Module"),
        (
            "torch.nn:Linear",
            "the constructor of Linear raised TypeError: Linear.__init__() got an unexpected keyword argument 'size'",
        ),
    ],
)
def test_what_no_library_has(serve: Serve, name: str, told: str) -> None:
    serve.folder()
    assert serve.error(simple(MODEL_CLASS=name, MODEL_KWARGS='{"size": [1]}')) == told


def test_an_operator_of_another_torch_is_explained(serve: Serve) -> None:
    serve.write("raise RuntimeError('operator torchvision::nms does not exist')\n", file="vision.py")
    assert serve.error(simple(MODEL_CLASS="vision:resnet18")) == (
        "MODEL_CLASS: vision cannot be imported: RuntimeError: operator torchvision::nms does not exist; its "
        "torchvision was built for another torch: for a CPU both come from PyTorch's index "
        "(pytorch-index, or --find-links with the wheel), or both from the package index (cuda: pypi)"
    )


def test_a_library_and_a_file(serve: Serve) -> None:
    serve.write(LINEAR)
    assert serve.error(simple(MODEL_CLASS="torch.nn:Linear")) == (
        "MODEL_CLASS names torch.nn:Linear, and there is model.py, too: keep one of them"
    )


def test_a_function_of_a_model_file_where_there_is_none(serve: Serve) -> None:
    (serve.folder() / "config.json").write_text('{"model_type": "bert"}')
    assert serve.error(simple(MODEL_FUNCTION="f")).startswith("MODEL_FUNCTION has no effect: ")
