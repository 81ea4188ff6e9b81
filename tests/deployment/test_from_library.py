"""A recipe, a model directory and a configuration for what a library defines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.deployment.config import read_config
from envbuilder.deployment.from_library import describe_source
from envbuilder.deployment.lint import find_problems
from envbuilder.errors import DeployError
from envbuilder.recipe.load import load_recipe
from tests.deployment.conftest import make_manifest

BERT = {"vocab_size": 100, "hidden_size": 32, "id2label": {"0": "a", "1": "b", "2": "c"}}
PICTURE = {"image_size": 32, "num_channels": 3, "hidden_size": 32}


def pretrained(folder: Path, config: dict[str, Any], *more: str) -> Path:
    """Write a folder as save_pretrained does, but for what the weights are."""
    for name in ("model.safetensors", *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


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


def test_a_model_of_sentence_transformers_takes_text(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", BERT, "tokenizer.json")
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 384}')
    found = describe_source(str(source))
    assert [(one.name, one.data_type) for one in found.inputs] == [("text", "STRING")]
    assert [(one.name, one.dims) for one in found.outputs] == [("sentence_embedding", (384,))]
    assert found.dependencies == ("transformers", "sentence-transformers")


def test_a_class_of_torchvision(tmp_path: Path) -> None:
    path = api.init("resnet", source="torchvision.models:resnet50", root=tmp_path)
    message = read_config(tmp_path / "models" / "resnet").message
    assert message.parameters["MODEL_CLASS"].string_value == "torchvision.models:resnet50"
    assert [list(one.dims) for one in (*message.input, *message.output)] == [[3, 224, 224], [1000]]
    assert "on PyTorch's index only" in path.read_text()


def test_half_precision_is_what_comes_out(tmp_path: Path) -> None:
    config = {"architectures": ["BertModel"], "dtype": "bfloat16", **BERT}
    found = describe_source(str(pretrained(tmp_path / "source", config)))
    assert [one.data_type for one in found.outputs] == ["BF16"]


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
    "config", [{}, {"architectures": ["AcmeForPlanning"]}, {"architectures": ["BertModel"]}]
)
def test_folders_of_which_nothing_can_be_told(tmp_path: Path, config: dict[str, Any]) -> None:
    source = pretrained(tmp_path / "source", config)
    with pytest.raises(DeployError, match=r"architecture|cannot be determined"):
        api.init("mine", source=str(source), root=tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["source"]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", {"architectures": ["BertModel"], **BERT})
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with pytest.raises(DeployError, match="already exists"):
        api.init("mine", source=str(source), root=tmp_path)
    assert not (tmp_path / "recipes").exists()
