"""A folder of Hugging Face's libraries: what of it needs no library, or one that stands in for it."""

from __future__ import annotations

import json
import os
import re
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.runtime import SEED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def test_a_folder_of_hugging_face_whose_weights_are_cut_short(serve: Serve) -> None:
    (serve.folder() / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    path = serve.folder() / "model.safetensors"
    save_file({"a": torch.zeros(100), "b": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:600])
    assert serve.error(simple()).startswith("model.safetensors is not a safetensors file: ")


def test_a_folder_of_hugging_face_without_its_library(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    (serve.folder() / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    assert serve.error(simple()) == f"{serve.folder()} contains a config.json but no weights"
    save_file({"a": torch.zeros(1)}, serve.folder() / "model.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert serve.error(simple()) == (
        "the version folder is a model of transformers, and the environment has no module 'transformers': "
        "add transformers to the recipe's dependencies"
    )


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"model_type": "bert", "a": ' + "[" * 100_000]
)
def test_a_folder_of_hugging_face_whose_config_is_nested_deeply(serve: Serve, text: str) -> None:
    (serve.folder() / "config.json").write_text(text)
    save_file({"a": torch.zeros(1)}, serve.folder() / "model.safetensors")
    said = serve.error(simple())
    assert "model.py" in said
    assert len(said) < 1000


class Makes:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize(
    "kind", ["pytorch_model.bin", "a part", "a shard", "torchscript", "a class", "a switch"]
)
def test_what_an_older_library_would_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """Nothing that would run code reaches a library: some call torch.load without ``weights_only``."""
    folder, marker = serve.folder(), tmp_path / "ran"
    library = types.ModuleType("transformers")
    library.AutoConfig = types.SimpleNamespace(from_pretrained=lambda *_, **__: object())  # type: ignore[attr-defined]
    library.AutoModel = types.SimpleNamespace(__name__="AutoModel")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", library)
    monkeypatch.setitem(sys.modules, "sentence_transformers", types.ModuleType("sentence_transformers"))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    options, told = {}, ".* wants posix.mkdir while it is unpickled, which could run code: refused"
    hostile = {"w": Makes(marker)}
    if kind == "pytorch_model.bin":
        torch.save(hostile, folder / kind)
    elif kind == "a shard":
        torch.save(hostile, folder / "pytorch_model-00001-of-00001.bin", _use_new_zipfile_serialization=False)
        index = {"weight_map": {"w": "pytorch_model-00001-of-00001.bin"}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    elif kind == "torchscript":
        with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
            archive.writestr("model/data.pkl", b"")
            archive.writestr("model/constants.pkl", b"")
        told = "pytorch_model.bin must contain weights, but contains torchscript"
    elif kind == "a switch":
        save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
        options = {"MODEL_KWARGS": '{"weights_only": false}'}
        told = "MODEL_KWARGS may not have weights_only"
    else:
        save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
        (folder / "2_Dense").mkdir()
        torch.save(hostile, folder / "2_Dense" / "pytorch_model.bin")
        module = "subprocess.Popen" if kind == "a class" else "sentence_transformers.models.Dense"
        (folder / "modules.json").write_text(json.dumps([{"type": module}]))
        told = "modules.json names subprocess.Popen, which is not run" if kind == "a class" else told
    config = simple(**options)
    if kind in ("a part", "a class"):
        config["output"][0]["name"] = "sentence_embedding"
    assert re.match(told, serve.error(config))
    assert not marker.exists()


@pytest.mark.parametrize("parameters", [{"MODEL_KWARGS": '{"a": 1}'}, {"MODEL_WEIGHTS": "model.safetensors"}])
def test_what_sentence_transformers_does_not_see(serve: Serve, parameters: dict[str, str]) -> None:
    (serve.folder() / "modules.json").write_text("[]")
    for name in ("model.safetensors", "other.safetensors"):
        save_file({"a": torch.zeros(1)}, serve.folder() / name)
    if "MODEL_KWARGS" in parameters:
        (serve.folder() / "other.safetensors").unlink()
    config = simple(**parameters)
    config["output"][0]["name"] = "sentence_embedding"
    (name,) = parameters
    assert serve.error(config).startswith(f"{name} has no effect: modules.json describes the model")


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


def told_by_library(monkeypatch: pytest.MonkeyPatch, **told: Any) -> None:
    """Let the stand-in report what does not fit, as transformers does."""

    def from_pretrained(cls: Any, *_: Any, **options: Any) -> Any:
        assert options["ignore_mismatched_sizes"]  # else it raises an error that names no key
        return cls(4, 3), told

    monkeypatch.setattr(Pretrained, "from_pretrained", classmethod(from_pretrained))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_weights_of_a_wrapped_model(
    transformers: Serve, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    """The library makes nothing of such keys: all weights would be random."""
    told_by_library(monkeypatch, missing_keys={"weight", "bias"}, unexpected_keys={f"{prefix}weight"})
    state = {f"{prefix}weight": torch.ones(3, 4), f"{prefix}bias": torch.zeros(3)}
    save_file(state, transformers.folder() / "model.safetensors")
    np.testing.assert_allclose(
        transformers.load(simple()).infer(x=X)["y"], X.sum(1, keepdims=True) * [[1] * 3]
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"missing_keys": ["b", "a"]}, "missing: a, b; they would be random. MODEL_CLASS names the class"),
        (
            {"mismatched_keys": [("a", (3,), (7,))]},
            "a has the shape [3], the model [7]; they would be random. con",
        ),
        ({"mismatched_keys": ["a"], "missing_keys": ["b"]}, "missing: b; a has another shape; they would be"),
        (
            {"missing_keys": [f"k{n}" for n in range(12)]},
            "missing: k0, k1, k10, k11, k2, k3, k4, k5 and 4 more; they",
        ),
    ],
)
def test_weights_that_do_not_fit_the_class(
    transformers: Serve, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], expected: str
) -> None:
    told_by_library(monkeypatch, **told)
    save_file({"other": torch.ones(1)}, transformers.folder() / "model.safetensors")
    said = transformers.error(simple())
    assert said.startswith("the weights in the version folder do not fit Pretrained: ")
    assert expected in said


def test_a_hint_for_a_pooler_without_weights(transformers: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    told_by_library(monkeypatch, missing_keys=["pooler.dense.weight"])

    def made(self: Any, *_: Any, add_pooling_layer: bool = True) -> None:
        torch.nn.Linear.__init__(self, 4, 3)

    monkeypatch.setattr(Pretrained, "__init__", made)
    save_file({"other": torch.ones(1)}, transformers.folder() / "model.safetensors")
    assert 'MODEL_KWARGS: {"add_pooling_layer": false} serves the model without' in transformers.error(
        simple()
    )


def test_a_model_as_constructed(transformers: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretrained, "from_pretrained", None)
    transformers.load(simple(MODEL_WEIGHTS="none"))
    (transformers.folder() / "model.safetensors").unlink()
    transformers.load(simple(MODEL_WEIGHTS="none"))


def test_a_sentence_model_is_never_as_constructed(serve: Serve) -> None:
    (serve.folder() / "modules.json").write_text("[]")
    config = simple(MODEL_WEIGHTS="none")
    config["output"][0]["name"] = "sentence_embedding"
    assert serve.error(config).endswith("sentence-transformers loads it; remove MODEL_WEIGHTS")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_format_that_the_library_takes_for_another(
    transformers: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It goes by the name: safetensors in a .bin, or the reverse, fail there."""
    monkeypatch.setattr(Pretrained, "from_pretrained", None)
    folder = transformers.folder()
    state = {"weight": torch.full((3, 4), 2.0), "bias": torch.zeros(3)}
    (folder / "model.safetensors").unlink()
    (save_file if name.endswith(".bin") else torch.save)(state, folder / name)
    y = transformers.load(simple()).infer(x=X)["y"]
    np.testing.assert_allclose(y, 2 * X.sum(1, keepdims=True) * [[1] * 3])


def test_a_class_that_makes_no_models(transformers: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = type("Tokenizer", (), {"from_pretrained": None})
    monkeypatch.setattr(sys.modules["transformers"], "Tokenizer", tokenizer, raising=False)
    said = transformers.error(simple(MODEL_CLASS="transformers:Tokenizer"))
    assert said == "MODEL_CLASS: transformers:Tokenizer is not a class of models"
