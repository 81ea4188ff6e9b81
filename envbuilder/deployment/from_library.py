"""Make a model directory for a model of a library: a folder that Hugging Face's libraries wrote, or a class.

Nothing is imported or run: inputs and outputs follow from ``config.json`` and the conventions of the libraries.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.deployment.config import CONFIG
from envbuilder.deployment.pbtxt import quote
from envbuilder.deployment.weight_files import describes_timm
from envbuilder.errors import DeployError
from envbuilder.util.files import read_regular
from envbuilder.util.printable import printable_line, shown
from envbuilder.util.tempdirs import draft_folder, output_folder

_MOST = 2**20
"""Largest JSON file that is read, in bytes."""
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
)
_VISION = ("torchvision.models", "timm")
_BATCH = 8
_TYPES = {"float16": "FP16", "bfloat16": "BF16", "float64": "FP64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """An input or an output of a configuration."""

    name: str
    data_type: str
    dims: tuple[int, ...]

    def text(self) -> str:
        """Return it in protobuf's text format."""
        return f"{{ name: {quote(self.name)} data_type: TYPE_{self.data_type} dims: {[*self.dims]} }}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryModel:
    """A model that needs no code of its own."""

    what: str
    """A description, for a comment."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dependencies: tuple[str, ...]
    """Dependencies of the recipe."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """The source of each file of the version folder."""

    def config(self) -> str:
        """Return the text of its config.pbtxt."""
        lines = [f"# {self.what}", f"max_batch_size: {_BATCH}"]
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"{kind} [", ",\n".join(f"  {one.text()}" for one in tensors), "]"]
        lines += ["dynamic_batching { }", "instance_group [ { count: 1 } ]"]
        for key, value in self.parameters.items():
            lines.append(f"parameters {{ key: {quote(key)} value {{ string_value: {quote(value)} }} }}")
        return "\n".join(lines) + "\n"


def describe_source(source: str) -> LibraryModel:
    """Say what *source* is: a folder that ``save_pretrained`` or timm wrote, or ``module:name``.

    Raises:
        DeployError: it is neither, or its inputs and outputs cannot be determined.
    """
    folder = Path(source)
    if folder.is_dir():
        return _describe_folder(folder)
    module, _, name = source.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", module) or not re.fullmatch(r"\w+(\.\w+)*", name):
        raise DeployError(
            f"--from {shown(source)}: neither an existing folder nor a MODULE:NAME",
            hint="expected for example torchvision.models:resnet50, or a folder written by save_pretrained",
        )
    if not module.startswith(_VISION):
        raise DeployError(
            f"--from {source}: inputs and outputs of a class cannot be determined from its name",
            hint="for a model of transformers, name the folder that save_pretrained wrote; for others, write "
            f'config.pbtxt by hand, with parameters {{ key: "MODEL_CLASS" value {{ string_value: "{source}" }} }}',
        )
    project = module.split(".")[0]
    return LibraryModel(
        what=f"{source} of {project}: images with three channels, scaled as in the training of its weights",
        inputs=(Tensor(name="image", data_type="FP32", dims=(3, 224, 224)),),
        outputs=(Tensor(name="scores", data_type="FP32", dims=(1000,)),),
        dependencies=(project, "torchvision") if project == "timm" else (project,),
        parameters={"MODEL_CLASS": source},
    )


def recipe_for(model: LibraryModel, text: str, directory: Path) -> str:
    """Return the recipe *text* with the dependencies of *model*; *directory* is its path relative to the recipe."""
    lines = "".join(f"  - {name}\n" for name in model.dependencies)
    text = text.replace("  - safetensors\n", f"  - safetensors\n{lines}", 1)
    said = ""
    if "torchvision" in model.dependencies:
        said = "# CPU builds of torchvision are on PyTorch's index only; a mirror: pytorch-index in envbuilder.toml\n"
    return f"{text}\n{said}verify:\n  model: {json.dumps(directory.as_posix())}\n"


def write_model(model: LibraryModel, target: Path) -> None:
    """Write the model directory *target*, whole or not at all.

    Raises:
        DeployError: there is one already, or it cannot be written.
    """
    try:
        with output_folder(target.parent), draft_folder(target.parent, target.name) as draft:
            version = draft / "model" / "1"
            version.mkdir(parents=True)
            if model.folder is not None:
                _copy(model.folder, version)
            (draft / "model" / CONFIG).write_text(model.config())
            if target.exists():
                raise DeployError(f"{target} already exists", hint="delete it, or choose another name")
            (draft / "model").rename(target)
    except OSError as error:
        raise DeployError(f"{target} cannot be written: {error.strerror}") from error


def _copy(source: Path, version: Path) -> None:
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            (version / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, version / relative)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_regular(path, most=_MOST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DeployError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise DeployError(f"{path} does not contain a JSON object")
    return found


def _describe_folder(folder: Path) -> LibraryModel:
    config = _json(folder / "config.json")
    if (folder / "modules.json").is_file():
        return _sentences(folder, config)
    if describes_timm(config):
        return _timm(folder, config)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else None
    if not isinstance(architecture, str):
        raise DeployError(
            f"{folder} contains no config.json that names an architecture",
            hint="name the folder that save_pretrained wrote",
        )
    try:
        inputs, outputs = _tensors(architecture, config)
        _check(*inputs, *outputs)
    except _UNTOLD as error:
        raise _untold(folder / "config.json", architecture) from error
    return LibraryModel(
        what=f"{printable_line(architecture)}, as transformers wrote it",
        inputs=inputs,
        outputs=outputs,
        dependencies=("transformers",),
        folder=folder,
    )


def _timm(folder: Path, config: dict[str, Any]) -> LibraryModel:
    architecture = config["architecture"]
    try:
        trained = config.get("pretrained_cfg", config)
        channels, height, width = trained["input_size"]
        made = config.get("model_args") or {}  # goes before what it was trained with
        channels, size = made.get("in_chans") or channels, made.get("img_size") or (height, width)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        # Without classes it returns what it would classify by.
        classes = int(config.get("num_classes", trained.get("num_classes", 1000))) or int(
            config["num_features"]
        )
        image = Tensor(name="image", data_type="FP32", dims=(int(channels), int(height), int(width)))
        scores = Tensor(name="scores", data_type="FP32", dims=(classes,))
        _check(image, scores)
    except _UNTOLD as error:
        raise _untold(folder / "config.json", architecture) from error
    return LibraryModel(
        what=f"{printable_line(architecture)}, as timm wrote it: images scaled as pretrained_cfg in config.json says",
        inputs=(image,),
        outputs=(scores,),
        dependencies=("timm", "torchvision"),
        folder=folder,
    )


def _sentences(folder: Path, config: dict[str, Any]) -> LibraryModel:
    pooling = _json(folder / "1_Pooling" / "config.json")
    try:
        size = int(pooling.get("word_embedding_dimension") or _size(config))
        output = Tensor(name="sentence_embedding", data_type="FP32", dims=(size,))
        _check(output)
    except _UNTOLD as error:
        raise _untold(folder / "1_Pooling" / "config.json", "sentence-transformers") from error
    text = any((folder / name).is_file() for name in _TOKENIZERS)
    inputs = (Tensor(name="text", data_type="STRING", dims=(1,)),) if text else _IDS
    return LibraryModel(
        what="a model of sentence-transformers: an embedding for each text",
        inputs=inputs,
        outputs=(output,),
        dependencies=("transformers", "sentence-transformers"),
        folder=folder,
    )


_UNTOLD = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError)


def _check(*tensors: Tensor) -> None:
    if any(not (dim == -1 or 0 < dim < 2**31) for tensor in tensors for dim in tensor.dims):
        raise ValueError


def _untold(path: Path, what: str) -> DeployError:
    return DeployError(
        f"{path}: inputs and outputs of {shown(what)} cannot be determined",
        hint="write the model's config.pbtxt by hand: inputs are the arguments of its forward, outputs the fields "
        "of its result",
    )


_ID = Tensor(name="input_ids", data_type="INT64", dims=(-1,))
_MASK = Tensor(name="attention_mask", data_type="INT64", dims=(-1,))
_DECODER = Tensor(name="decoder_input_ids", data_type="INT64", dims=(-1,))
_IDS = (_ID, _MASK)


def _size(config: Mapping[str, Any]) -> int:
    keys = [key for key in ("hidden_size", "d_model", "n_embd", "dim") if key in config]
    return int(config[keys[0] if keys else "hidden_size"])


def _labels(config: Mapping[str, Any]) -> int:
    return len(config["id2label"]) if "id2label" in config else int(config.get("num_labels", 2))


def _picture(config: Mapping[str, Any]) -> Tensor:
    size = config.get("image_size", 224)
    height, width = size if isinstance(size, list) else (size, size)
    dims = (int(config.get("num_channels", 3)), int(height), int(width))
    return Tensor(name="pixel_values", data_type="FP32", dims=dims)


def _tensors(architecture: str, config: dict[str, Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return inputs and outputs of an *architecture* of transformers.

    Raises:
        AttributeError, KeyError, TypeError, ValueError, ArithmeticError: they cannot be determined.
    """
    kind = _TYPES.get(str(config.get("dtype") or config.get("torch_dtype")), "FP32")

    def output(name: str, *dims: int) -> Tensor:
        return Tensor(name=name, data_type=kind, dims=dims)

    if architecture.endswith("ForImageClassification"):
        return (_picture(config),), (output("logits", _labels(config)),)
    if architecture == "CLIPModel":
        size = int(config["projection_dim"])
        inputs = (_ID, _picture(config["vision_config"]), _MASK)
        return inputs, (output("image_embeds", size), output("text_embeds", size))
    if architecture == "WhisperForConditionalGeneration":
        dims = (int(config["num_mel_bins"]), 2 * int(config["max_source_positions"]))
        sound = Tensor(name="input_features", data_type="FP32", dims=dims)
        return (sound, _DECODER), (output("logits", -1, int(config["vocab_size"])),)
    if architecture.endswith("ForConditionalGeneration"):
        return (*_IDS, _DECODER), (output("logits", -1, int(config["vocab_size"])),)
    if architecture.endswith("ForSequenceClassification"):
        return _IDS, (output("logits", _labels(config)),)
    if architecture.endswith("ForTokenClassification"):
        return _IDS, (output("logits", -1, _labels(config)),)
    if architecture.endswith("ForQuestionAnswering"):
        return _IDS, (output("start_logits", -1), output("end_logits", -1))
    if architecture.endswith(("ForMaskedLM", "ForCausalLM", "LMHeadModel")):
        return _IDS, (output("logits", -1, int(config["vocab_size"])),)
    if not architecture.endswith("Model"):
        raise ValueError(architecture)
    shown_to: tuple[Tensor, ...] = (_picture(config),) if "image_size" in config else _IDS
    return shown_to, (output("last_hidden_state", -1, _size(config)),)
