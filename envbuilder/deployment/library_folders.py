"""Describe folders written by transformers, sentence-transformers or timm, and select the files to deploy."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envbuilder.deployment.architectures import (
    UNTOLD,
    Tensor,
    check,
    data_type,
    describe_architecture,
    hidden_size,
    needs_padding,
)
from envbuilder.deployment.library_model import LibraryModel
from envbuilder.deployment.weight_files import (
    SAFETENSORS,
    UNREADABLE,
    WeightSet,
    describes_timm,
    find_weights,
    holds_weights,
    unclear,
)
from envbuilder.errors import DeployError
from envbuilder.util.files import read_regular
from envbuilder.util.printable import printable_line, shown

_MOST = 2**20
"""Largest JSON file that is read, in bytes."""
_STANDARD = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of weights files, in the order in which ``from_pretrained`` prefers them."""
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_STORED = {"F16": "float16", "BF16": "bfloat16", "F64": "float64", "F32": "float32"}
_POOLING = (
    "cls_token",
    "max_tokens",
    "mean_tokens",
    "mean_sqrt_len_tokens",
    "weightedmean_tokens",
    "lasttoken",
)
_SAME_SIZE = ("Normalize", "Dropout", "LayerNorm")
_MERGE = "merge it into its model (merge_and_unload), and save_pretrained the whole"


def describe_folder(folder: Path) -> LibraryModel:
    """Describe a *folder* that transformers, sentence-transformers or timm wrote.

    Raises:
        DeployError: it is something else, it cannot be served as it is, or its inputs and outputs cannot be
            determined.
    """
    _refuse_others(folder)
    if (folder / "modules.json").is_file():
        return _sentences(folder)
    config = _json(folder / "config.json")
    _refuse_special(folder, config)
    if describes_timm(config):
        return _timm(folder, config)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else named
    if not isinstance(architecture, str):
        raise DeployError(
            f"{folder} contains no config.json that names an architecture",
            hint="name the folder that save_pretrained wrote",
        )
    weights = _weights(folder)
    try:
        kind = data_type(config, _stored_type(folder, weights))
        inputs, outputs = describe_architecture(architecture, config, kind)
    except UNTOLD as error:
        raise _untold(folder / "config.json", architecture) from error
    if needs_padding(architecture, config):
        raise DeployError(
            f"{folder / 'config.json'}: {shown(architecture)} without pad_token_id takes no batches",
            hint="set pad_token_id to the id of the tokenizer's padding token, or else of its last token",
        )
    parameters = {}
    if open_ended := [one for one in inputs if one.name == "input_values" and -1 in one.dims]:
        parameters["WARMUP"] = json.dumps({"dims": {one.name: [16000] for one in open_ended}})
    return LibraryModel(
        what=f"{printable_line(architecture)}, as transformers wrote it",
        inputs=inputs,
        outputs=outputs,
        dependencies=("transformers", "timm", "torchvision")
        if config.get("use_timm_backbone")
        else ("transformers",),
        parameters=parameters,
        folder=folder,
        left_out=_left_out(folder, weights),
    )


def _refuse_others(folder: Path) -> None:
    """Refuse folders that no transformers class describes: pipelines of diffusers, adapters, other formats."""
    if (folder / "model_index.json").is_file():
        raise DeployError(
            f"{folder} is a pipeline of diffusers: several models, and a loop over them",
            hint="name a folder below it that transformers wrote (text_encoder), or write a model.py that makes the "
            "pipeline, with from_pretrained(folder, local_files_only=True)",
        )
    if (folder / "adapter_config.json").is_file():
        raise DeployError(
            f"{folder} contains an adapter of PEFT (adapter_config.json)",
            hint=f"{_MERGE}; where it is merged already, delete adapter_config.json",
        )
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return
    formats = sorted({path.suffix for path in folder.iterdir() if path.name.lower().endswith(UNREADABLE)})
    if formats:
        raise DeployError(
            f"{folder} contains no config.json that names an architecture, and files in other formats: "
            f"{', '.join(map(printable_line, formats))}",
            hint="name the folder that save_pretrained wrote; torch reads safetensors and what torch.save wrote",
        )


def _refuse_special(folder: Path, config: Mapping[str, Any]) -> None:
    where = folder / "config.json"
    if "_class_name" in config and "architectures" not in config:
        raise DeployError(
            f"{where} describes {shown(str(config['_class_name']))} of diffusers, and not its inputs and outputs",
            hint="write a model.py that calls from_pretrained(folder, local_files_only=True), and its config.pbtxt",
        )
    quantized = config.get("quantization_config")
    if quantized is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        raise DeployError(
            f"{where}: the weights are quantized ({shown(str(method or 'quantization_config'))}), which needs a "
            "library and a device of their own",
            hint="save it dequantized (model.dequantize()), or write recipe and config.pbtxt by hand",
        )
    if config.get("auto_map"):
        raise DeployError(
            f"{where} names code of the model's own repository (auto_map), which tells no inputs and outputs",
            hint="if transformers has the architecture by now, remove auto_map; else write config.pbtxt by hand, with "
            'parameters { key: "TRUST_REMOTE_CODE" value { string_value: "true" } }',
        )


def _weights(folder: Path) -> WeightSet:
    """Return the weights to deploy; of several, those that ``from_pretrained`` prefers.

    Raises:
        DeployError: there are none, they cannot be read, or they are ambiguous.
    """
    sets = find_weights(str(folder))
    if not sets:
        other = sorted(path.name for path in folder.iterdir() if path.name.lower().endswith(UNREADABLE))
        told = f", only {', '.join(map(printable_line, other[:3]))}" if other else ""
        raise DeployError(
            f"{folder} contains no weights that torch reads{told}",
            hint="save the model with save_pretrained; a download has to be complete, with model.safetensors",
        )
    found = [one for name in _STANDARD for one in sets if one.name == name] or sets
    if len(sets) > 1 and found[0].name not in _STANDARD:
        raise DeployError(f"{folder} contains several files of weights: {unclear(sets)}")
    if found[0].problem:
        raise DeployError(f"{folder}: {printable_line(found[0].name)} cannot be read: {found[0].problem}")
    return found[0]


def _stored_type(folder: Path, weights: WeightSet) -> str | None:
    """Return torch's name of the dtype of the first float tensor in a safetensors file; None for another format.

    Raises:
        DeployError: the file is damaged or truncated.
    """
    if not weights.files[0].endswith(SAFETENSORS):
        return None
    path = folder / weights.files[0]
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 100 * _MOST)))
        entries = [one for key, one in header.items() if key != "__metadata__"]
        end = max((one["data_offsets"][1] for one in entries), default=0)
        kinds = [_STORED[one["dtype"]] for one in entries if one["dtype"] in _STORED]
    except (OSError, struct.error, ValueError, *UNTOLD) as error:
        raise DeployError(f"{path} is no file of safetensors: {error}") from None
    if 8 + length + end > path.stat().st_size:
        raise DeployError(f"{path} is cut short", hint="copy or download it again")
    return kinds[0] if kinds else None


def _left_out(folder: Path, weights: WeightSet, kept: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the files not to copy: other weights, except in the subfolders *kept*; paths are relative to *folder*."""
    needed = {*weights.files, weights.name}
    names = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or relative.as_posix() in needed or relative.parts[0] in kept:
            continue
        other = path.name.lower().endswith((*UNREADABLE, ".index.json"))
        if holds_weights(str(path)) or other:
            names.append(relative.as_posix())
    return tuple(names)


def _timm(folder: Path, config: Mapping[str, Any]) -> LibraryModel:
    weights = _weights(folder)
    try:
        pretrained = config.get("pretrained_cfg", config)
        channels, height, width = pretrained["input_size"]
        made = config.get("model_args") or {}  # takes precedence over pretrained_cfg
        channels, size = made.get("in_chans") or channels, made.get("img_size") or (height, width)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        # A model with zero classes returns its features.
        classes = int(config.get("num_classes", pretrained.get("num_classes", 1000)))
        picture = Tensor(name="image", data_type="FP32", dims=(int(channels), int(height), int(width)))
        scores = Tensor(name="scores", data_type="FP32", dims=(classes or int(config["num_features"]),))
        check(picture, scores)
    except UNTOLD as error:
        raise _untold(folder / "config.json", str(config["architecture"])) from error
    architecture = printable_line(str(config["architecture"]))
    return LibraryModel(
        what=f"{architecture}, as timm wrote it: images scaled as pretrained_cfg in config.json says",
        inputs=(picture,),
        outputs=(scores,),
        dependencies=("timm", "torchvision"),
        folder=folder,
        left_out=_left_out(folder, weights),
    )


def _sentences(folder: Path) -> LibraryModel:
    """Describe a model of sentence-transformers from its list of modules."""
    where = folder / "modules.json"
    modules = _list(where)
    try:
        kinds = [str(one["type"]).rsplit(".", 1)[-1] for one in modules]
        paths = [str(one.get("path") or "") for one in modules]
    except UNTOLD as error:
        raise _untold(where, "sentence-transformers") from error
    if any(Path(path).name != path for path in paths) or kinds[:2] != ["Transformer", "Pooling"]:
        raise _untold(where, f"a model of {' and '.join(map(printable_line, kinds[:3])) or 'no module'}")
    first = folder / paths[0]
    config = _json(first / "config.json")
    _refuse_special(first, config)
    weights = _weights(first)
    if not any((first / name).is_file() for name in _TOKENIZERS):
        raise DeployError(
            f"{first} contains no tokenizer ({', '.join(_TOKENIZERS[:3])}, …), without which sentence-transformers "
            "loads no model",
            hint="copy all files that save_pretrained wrote",
        )
    try:
        size = _pooled(_json(folder / paths[1] / "config.json"), config)
        for kind, path in zip(kinds[2:], paths[2:], strict=True):
            if kind == "Dense":
                size = int(_json(folder / path / "config.json")["out_features"])
            elif kind not in _SAME_SIZE:
                raise ValueError(kind)
        kept = _json(folder / "config_sentence_transformers.json").get("truncate_dim")
        size = size if kept is None else min(size, int(kept))
        output = Tensor(name="sentence_embedding", data_type="FP32", dims=(size,))
        check(output)
    except UNTOLD as error:
        raise _untold(where, f"a model of {' and '.join(map(printable_line, kinds))}") from error
    half = data_type(config, _stored_type(first, weights)) != "FP32"
    inside = f"{paths[0]}/" if paths[0] else ""
    at = weights._replace(name=inside + weights.name, files=tuple(inside + one for one in weights.files))
    return LibraryModel(
        what="a model of sentence-transformers: an embedding for each text, as its encode gives it",
        inputs=(Tensor(name="text", data_type="STRING", dims=(1,)),),
        outputs=(output,),
        dependencies=("transformers", "sentence-transformers"),
        parameters={"DTYPE": "float32"} if half else {},
        folder=folder,
        left_out=_left_out(folder, at, [path for path in paths[1:] if path]),
    )


def _pooled(pooling: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Return the size of the pooled embedding: pooling modes are concatenated, each of the size of a token's."""
    size = (
        pooling.get("word_embedding_dimension") or pooling.get("embedding_dimension") or hidden_size(config)
    )
    mode = pooling.get("pooling_mode")
    if mode is None:
        ways = sum(1 for one in _POOLING if pooling.get(f"pooling_mode_{one}"))
    else:
        ways = 1 if isinstance(mode, str) else len(mode)
    return int(size) * (ways or 1)


def _json(path: Path) -> dict[str, Any]:
    found = _read(path, {})
    if not isinstance(found, dict):
        raise DeployError(f"{path} does not contain a JSON object")
    return found


def _list(path: Path) -> list[Any]:
    found = _read(path, [])
    if not isinstance(found, list):
        raise DeployError(f"{path} does not contain a list in JSON")
    return found


def _read(path: Path, absent: Any) -> Any:
    try:
        return json.loads(read_regular(path, most=_MOST))
    except FileNotFoundError:
        return absent
    except (OSError, ValueError, RecursionError) as error:
        raise DeployError(f"{path} cannot be read: {error}") from None


def _untold(path: Path, what: str) -> DeployError:
    return DeployError(
        f"{path}: inputs and outputs of {shown(what)} cannot be determined",
        hint="write the model's config.pbtxt by hand: inputs are the arguments of its forward, outputs the fields "
        "of its result",
    )
