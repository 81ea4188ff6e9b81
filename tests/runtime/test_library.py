"""Models that need no ``model.py``: what of it needs no library."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.runtime import LINEAR, SEED, config, field, simple
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


class Pretrained(torch.nn.Linear):
    """Stands in for a class of transformers."""

    config = types.SimpleNamespace(use_cache=True)

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> Any:
        return cls(4, 3), {}

    @classmethod
    def from_config(cls, _: Any) -> Any:
        return cls(4, 3)


@pytest.fixture
def transformers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A folder of a model that the library's stand-in loads."""
    library = types.ModuleType("transformers")
    library.__version__ = "4.0"  # type: ignore[attr-defined]
    found = types.SimpleNamespace(architectures=None)
    library.AutoConfig = types.SimpleNamespace(from_pretrained=lambda *_, **__: found)  # type: ignore[attr-defined]
    library.AutoModel = Pretrained  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", library)
    (serve.folder() / "config.json").write_text('{"model_type": "bert"}')
    save_file({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, serve.folder() / "model.safetensors")
    return serve


def test_an_adapter_that_is_not_served_is_said(transformers: Serve) -> None:
    (transformers.folder() / "adapter_config.json").write_text("{}")
    transformers.load(simple())
    assert transformers.warnings()[0].startswith("net: adapter_config.json: served without its adapter")


def test_shards_beside_a_file_that_the_library_would_take(transformers: Serve) -> None:
    folder = transformers.folder()
    save_file({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, folder / "part.safetensors")
    index = {"weight_map": {"weight": "part.safetensors", "bias": "part.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = transformers.load(simple(MODEL_WEIGHTS="model.safetensors.index.json"))
    assert not model.infer(x=X)["y"].any()


def test_kwargs_that_a_configuration_has_not(transformers: Serve) -> None:
    folder = transformers.folder()
    (folder / "model.safetensors").rename(folder / "net.safetensors")
    assert transformers.error(simple(MODEL_KWARGS='{"size": 1}')) == "MODEL_KWARGS: config.json has no 'size'"


def test_generate_answers_for_sequences(transformers: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    described = config([field("input", "FP32", [4])], [field("sequences", "FP32", [3])], max_batch_size=8)
    described["parameters"] = {SEED: {"string_value": '{"dynamic": true}'}}
    assert transformers.error(described).startswith(
        "output 'sequences' is what generate() returns, and Pretrained has none: "
    )
    options = types.SimpleNamespace(pad_token_id=0, eos_token_id=None, max_new_tokens=None)
    monkeypatch.setattr(Pretrained, "generation_config", options, raising=False)
    monkeypatch.setattr(Pretrained, "generate", lambda _, input: input[:, :3] + 1, raising=False)
    model = transformers.load(described)
    np.testing.assert_array_equal(model.infer(input=X)["sequences"], X[:, :3] + 1)
    assert transformers.warnings() == [f"net: {SEED} has no effect: generate() is not compiled"]
    assert any("served by eager" in text for _, text in transformers.pb.Logger.lines)
