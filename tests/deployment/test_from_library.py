"""A recipe, a model directory and a configuration for what a library defines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.deployment.config import read_config
from envbuilder.deployment.from_library import describe_source
from envbuilder.deployment.library_model import LibrarySource
from envbuilder.deployment.lint import find_problems
from envbuilder.errors import DeployError
from envbuilder.recipe.load import load_recipe
from tests.deployment.conftest import make_manifest
from tests.helpers.library_folders import BERT, PICTURE, pretrained


@pytest.mark.parametrize(
    ("architecture", "config", "inputs", "outputs"),
    [
        ("BertForSequenceClassification", BERT, ["input_ids", "attention_mask"], {"logits": [3]}),
        ("BertModel", BERT, ["input_ids", "attention_mask"], {"last_hidden_state": [-1, 32]}),
        ("BertForMaskedLM", BERT, ["input_ids", "attention_mask"], {"logits": [-1, 100]}),
        (
            "BertForQuestionAnswering",
            BERT,
            ["input_ids", "attention_mask"],
            {"start_logits": [-1], "end_logits": [-1]},
        ),
        (
            "GPT2LMHeadModel",
            {"vocab_size": 9, "n_embd": 4},
            ["input_ids", "attention_mask"],
            {"logits": [-1, 9]},
        ),
        (
            "T5ForConditionalGeneration",
            {"vocab_size": 9},
            ["input_ids", "attention_mask", "decoder_input_ids"],
            {"logits": [-1, 9]},
        ),
        (
            "WhisperForConditionalGeneration",
            {"vocab_size": 9, "num_mel_bins": 80, "max_source_positions": 1500},
            ["input_features", "decoder_input_ids"],
            {"logits": [-1, 9]},
        ),
        ("ViTForImageClassification", {**PICTURE, **BERT}, ["pixel_values"], {"logits": [3]}),
        ("ViTModel", PICTURE, ["pixel_values"], {"last_hidden_state": [-1, 32]}),
        (
            "CLIPModel",
            {"projection_dim": 16, "vision_config": PICTURE},
            ["input_ids", "pixel_values", "attention_mask"],
            {"image_embeds": [16], "text_embeds": [16]},
        ),
    ],
)
def test_a_folder_of_transformers(
    tmp_path: Path,
    architecture: str,
    config: dict[str, Any],
    inputs: list[str],
    outputs: dict[str, list[int]],
) -> None:
    source = pretrained(tmp_path / "source", {"architectures": [architecture], **config}, ".git/x", "a/b.txt")
    path = api.init("mine", source=str(source), root=tmp_path)
    model = tmp_path / "models" / "mine"
    read = read_config(model)
    assert [one.name for one in read.message.input] == inputs
    assert {one.name: list(one.dims) for one in read.message.output} == outputs
    assert sorted(one.relative_to(model).as_posix() for one in model.rglob("*") if one.is_file()) == [
        "1/a/b.txt",
        "1/config.json",
        "1/model.safetensors",
        "config.pbtxt",
    ]
    assert [f for f in find_problems(model, read, make_manifest(), plain=False) if f.level == "error"] == []
    recipe = load_recipe(path)
    assert "transformers" in {str(one) for one in recipe.dependencies}
    assert recipe.verify.model is not None
    assert Path(recipe.verify.model).resolve() == model.resolve()


def test_a_class_of_torchvision(tmp_path: Path) -> None:
    path = api.init("resnet", source="torchvision.models:resnet50", root=tmp_path)
    message = read_config(tmp_path / "models" / "resnet").message
    assert message.parameters["MODEL_CLASS"].string_value == "torchvision.models:resnet50"
    assert [list(one.dims) for one in (*message.input, *message.output)] == [[3, 224, 224], [1000]]
    assert "on PyTorch's index only" in path.read_text()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere", "--from 'nowhere': neither an existing folder nor a MODULE:NAME"),
        (
            "my.models:Net",
            "--from my.models:Net: inputs and outputs of a class cannot be determined from its name",
        ),
    ],
)
def test_sources_that_are_refused(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(DeployError) as caught:
        api.init("mine", source=source, root=tmp_path)
    assert caught.value.message == told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kwargs", "inputs", "outputs"),
    [
        ("timm:create_model", {"model_name": "vit_base_patch16_384", "num_classes": 5}, (3, 384, 384), (5,)),
        ("timm.models:resnet18", {"in_chans": 1}, (1, 224, 224), (1000,)),
        ("torchvision.models:inception_v3", {}, (3, 299, 299), (1000,)),
        ("torchvision.models:get_model", {"name": "resnet18", "num_classes": 3}, (3, 224, 224), (3,)),
        ("torchvision.models.segmentation:fcn_resnet50", {}, (3, 224, 224), (21, 224, 224)),
        ("torchvision.models.video:r3d_18", {}, (3, 16, 112, 112), (400,)),
    ],
)
def test_functions_of_libraries(
    name: str, kwargs: dict[str, Any], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    found = describe_source(LibrarySource(name=name, kwargs=kwargs))
    assert [one.dims for one in (*found.inputs, *found.outputs)] == [inputs, outputs]
    assert found.parameters.get("MODEL_KWARGS", "{}") == json.dumps(kwargs)


@pytest.mark.parametrize(
    ("name", "kwargs", "told"),
    [
        ("timm:create_model", {}, "it makes models of any name, and none is given"),
        ("torchvision.models:get_model", {}, "it makes models of any name, and none is given"),
        ("torchvision.models:ResNet", {}, "ResNet is not a function that makes a model"),
        ("torchvision.models:list_models", {}, "list_models is not a function that makes a model"),
        ("torchvision.models.detection:fasterrcnn_resnet50_fpn", {}, "do not take and return one tensor"),
        ("timm:create_model", {"model_name": "a", "num_classes": 0}, "cannot be determined from"),
        ("timm:create_model", {"model_name": "a", "pretrained": True}, "pretrained would download weights"),
        ("timm.data:create_transform", {}, "cannot be determined from its name"),
    ],
)
def test_functions_of_libraries_that_are_refused(name: str, kwargs: dict[str, Any], told: str) -> None:
    with pytest.raises(DeployError, match=told):
        describe_source(LibrarySource(name=name, kwargs=kwargs))


def test_a_class_is_not_deployed_without_weights(tmp_path: Path) -> None:
    def problems(name: str) -> list[str]:
        model = tmp_path / "models" / name
        found = find_problems(model, read_config(model), make_manifest(), plain=False)
        return [one.id for one in found if one.level == "error"]

    file = tmp_path / "resnet.safetensors"
    pretrained(tmp_path, {})
    (tmp_path / "model.safetensors").rename(file)
    for name, weights in (("bare", None), ("given", str(file)), ("random", "none")):
        source = LibrarySource(name="torchvision.models:resnet50", weights=weights)
        api.init(name, source=source, root=tmp_path)
    assert problems("bare") == ["class-without-weights"]
    assert problems("given") == problems("random") == []
    assert (tmp_path / "models" / "given" / "1" / "resnet.safetensors").is_file()


@pytest.mark.parametrize(
    ("file", "told"), [("absent.pt", "there is no such file"), ("empty.pt", "it is empty")]
)
def test_weights_that_are_none(tmp_path: Path, file: str, told: str) -> None:
    (tmp_path / "empty.pt").touch()
    with pytest.raises(DeployError, match=told):
        describe_source(LibrarySource(name="torchvision.models:resnet50", weights=str(tmp_path / file)))


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", {"architectures": ["BertModel"], **BERT})
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with pytest.raises(DeployError, match="already exists"):
        api.init("mine", source=str(source), root=tmp_path)
    assert not (tmp_path / "recipes").exists()
