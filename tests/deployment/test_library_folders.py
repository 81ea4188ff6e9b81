"""What is in a folder that a library wrote."""

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
from tests.helpers.library_folders import BERT, PICTURE, pretrained


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


@pytest.mark.parametrize(
    ("more", "image", "scores"),
    [
        ({"num_classes": 5}, (3, 64, 96), 5),
        ({"num_classes": 0, "num_features": 512}, (3, 64, 96), 512),
        ({"num_classes": 5, "model_args": {"in_chans": 1}}, (1, 64, 96), 5),
        ({"num_classes": 5, "model_args": {"img_size": 32}}, (3, 32, 32), 5),
        ({"num_classes": 5, "model_args": {"img_size": [32, 64]}}, (3, 32, 64), 5),
    ],
    ids=["classes", "features", "other channels", "another size", "another height and width"],
)
def test_a_folder_of_timm(tmp_path: Path, more: dict[str, Any], image: tuple[int, ...], scores: int) -> None:
    trained = {"input_size": [3, 64, 96], "num_classes": 1000}
    config = {"architecture": "resnet18", "pretrained_cfg": trained, **more}
    path = api.init("mine", source=str(pretrained(tmp_path / "source", config)), root=tmp_path)
    model = tmp_path / "models" / "mine"
    read = read_config(model)
    assert [tuple(one.dims) for one in (*read.message.input, *read.message.output)] == [image, (scores,)]
    assert [f for f in find_problems(model, read, make_manifest(), plain=False) if f.level == "error"] == []
    assert {"timm", "torchvision"} <= {str(one) for one in load_recipe(path).dependencies}


def test_an_architecture_that_is_not_in_a_list(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", {"architectures": "BertModel", **BERT})
    assert [one.name for one in describe_source(str(source)).outputs] == ["last_hidden_state"]


@pytest.mark.parametrize(("kept", "size"), [(8, 8), (64, 32), (None, 32)])
def test_embeddings_that_are_cut(tmp_path: Path, kept: int | None, size: int) -> None:
    source = sentences(tmp_path / "source", {"embedding_dimension": 32, "pooling_mode": "cls"})
    (source / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": kept}))
    assert [one.dims for one in describe_source(str(source)).outputs] == [(size,)]


def test_half_precision_is_what_comes_out(tmp_path: Path) -> None:
    config = {"architectures": ["BertModel"], "dtype": "bfloat16", **BERT}
    found = describe_source(str(pretrained(tmp_path / "source", config)))
    assert [one.data_type for one in found.outputs] == ["BF16"]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": ["AcmeForPlanning"]},
        {"architectures": ["BertModel"]},
        {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3]}},
    ],
)
def test_folders_of_which_nothing_can_be_told(tmp_path: Path, config: dict[str, Any]) -> None:
    source = pretrained(tmp_path / "source", config)
    with pytest.raises(DeployError, match=r"architecture|cannot be determined"):
        api.init("mine", source=str(source), root=tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["source"]


def sentences(
    folder: Path, pooling: dict[str, Any], *more: tuple[str, dict[str, Any]], first: str = ""
) -> Path:
    """Write what sentence-transformers does: a first module, pooling, and others."""
    pretrained(folder / first, BERT, "tokenizer.json")
    parts = [("Pooling", pooling), *more]
    modules = [{"path": first, "type": "sentence_transformers.models.Transformer"}]
    for number, (kind, config) in enumerate(parts, 1):
        (folder / f"{number}_{kind}").mkdir()
        (folder / f"{number}_{kind}" / "config.json").write_text(json.dumps(config))
        modules.append({"path": f"{number}_{kind}", "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@pytest.mark.parametrize(
    ("pooling", "more", "size"),
    [
        ({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}, [], 32),
        (
            {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
            [("Normalize", {})],
            64,
        ),
        ({"embedding_dimension": 32, "pooling_mode": ["cls", "mean", "lasttoken"]}, [], 96),
        ({"embedding_dimension": 32, "pooling_mode": "cls"}, [("Dense", {"out_features": 5})], 5),
        ({}, [], 32),
    ],
)
@pytest.mark.parametrize("first", ["", "0_Transformer"])
def test_the_size_of_an_embedding(
    tmp_path: Path, pooling: dict[str, Any], more: list[tuple[str, dict[str, Any]]], size: int, first: str
) -> None:
    found = describe_source(str(sentences(tmp_path / "source", pooling, *more, first=first)))
    assert [one.dims for one in found.outputs] == [(size,)]
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), "contains no tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "contains no weights that torch reads"),
        (lambda f: (f / "modules.json").write_text("[]"), "a model of no module' cannot be determined"),
        (
            lambda f: (f / "modules.json").write_text('[{"type": "a.StaticEmbedding", "path": ""}]'),
            "a model of StaticEmbedding' cannot be determined",
        ),
        (lambda f: (f / "2_Dense" / "config.json").unlink(), "cannot be determined"),
    ],
)
def test_sentences_that_are_refused(tmp_path: Path, change: Any, told: str) -> None:
    source = sentences(tmp_path / "source", {}, ("Dense", {"out_features": 5}))
    change(source)
    with pytest.raises(DeployError, match=told):
        describe_source(str(source))


def test_weights_in_several_forms(tmp_path: Path) -> None:
    others = [
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "checkpoint-5/model.safetensors",
        "optimizer.pt",
    ]
    source = pretrained(tmp_path / "source", {"architectures": ["BertModel"], **BERT}, *others)
    api.init("mine", source=str(source), root=tmp_path)
    version = tmp_path / "models" / "mine" / "1"
    there = sorted(one.relative_to(version).as_posix() for one in version.rglob("*") if one.is_file())
    assert there == ["config.json", "model.safetensors", "optimizer.pt"]
    assert "# not copied: checkpoint-5/model.safetensors, onnx/model.onnx" in (
        version.parent / "config.pbtxt"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("whole", [True, False])
def test_shards_of_a_folder(tmp_path: Path, whole: bool) -> None:
    source = pretrained(tmp_path / "source", {"architectures": ["BertModel"], **BERT})
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (source / "model.safetensors").rename(source / names[0])
    if whole:
        (source / names[1]).write_bytes((source / names[0]).read_bytes())
    index = {"weight_map": {name: name for name in names}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    if whole:
        assert describe_source(str(source)).left_out == ()
    else:
        with pytest.raises(
            DeployError, match=r"it names model-00002-of-00002\.safetensors, which does not exist"
        ):
            describe_source(str(source))


def test_the_type_of_stored_weights_is_what_comes_out(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", {"architectures": ["ViTModel"], **PICTURE})
    header = json.dumps({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = source / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    found = describe_source(str(source))
    assert [one.data_type for one in (*found.inputs, *found.outputs)] == ["FP16", "FP16"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DeployError, match="is cut short"):
        describe_source(str(source))


@pytest.mark.parametrize(
    ("config", "files", "told"),
    [
        ({"quantization_config": {"quant_method": "awq"}}, [], r"the weights are quantized \('awq'\)"),
        ({"auto_map": {"AutoModel": "modeling.Net"}}, [], "names code of the model's own repository"),
        ({"_class_name": "AutoencoderKL", "architectures": None}, [], "cannot be determined|architecture"),
        ({}, ["adapter_config.json"], "contains an adapter of PEFT"),
        ({}, ["model_index.json"], "is a pipeline of diffusers"),
        (
            {},
            ["model.fp16.safetensors", "pytorch_model.pt", "-model.safetensors"],
            "several files of weights",
        ),
        ({}, ["model.gguf", "-model.safetensors"], "contains no weights that torch reads, only model.gguf"),
        ({}, ["-model.safetensors"], "contains no weights that torch reads"),
        (
            {"architectures": ["GPT2ForSequenceClassification"], "n_embd": 4},
            [],
            "without pad_token_id takes no batches",
        ),
        (
            {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}},
            [],
            "cannot be determined",
        ),
        ({"architectures": ["ResNetModel"], "num_channels": 3}, [], "cannot be determined"),
    ],
)
def test_folders_that_are_refused(
    tmp_path: Path, config: dict[str, Any], files: list[str], told: str
) -> None:
    source = pretrained(tmp_path / "source", {"architectures": ["BertModel"], **BERT, **config})
    for name in files:
        if name.startswith("-"):
            (source / name[1:]).unlink()
        else:
            (source / name).write_bytes(b"x")
    with pytest.raises(DeployError, match=told):
        api.init("mine", source=str(source), root=tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["source"]


def test_a_folder_with_only_another_format(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(DeployError, match=r"files in other formats: \.onnx"):
        describe_source(str(tmp_path))
