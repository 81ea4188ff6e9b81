"""Make a model directory for a model of a library: a folder that Hugging Face's libraries wrote, or a class.

Nothing is imported or run: inputs and outputs follow from ``config.json`` and the conventions of the libraries.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from envbuilder.deployment.architectures import UNTOLD, Tensor, check
from envbuilder.deployment.config import CONFIG
from envbuilder.deployment.library_folders import describe_folder
from envbuilder.deployment.library_model import LibraryModel, LibrarySource
from envbuilder.deployment.weight_files import examine
from envbuilder.errors import DeployError
from envbuilder.util.printable import shown
from envbuilder.util.tempdirs import draft_folder, output_folder

_BY_HAND = (
    "for a model of transformers, name the folder that save_pretrained wrote; for others, write config.pbtxt by hand, "
    'with parameters {{ key: "MODEL_CLASS" value {{ string_value: "{source}" }} }}'
)
_NO_MODEL = re.compile(r"(list_|get_model_|get_weight|is_model|register_|.*_weights$)|[A-Z]")
_CLIPS = ("r3d_18", "mc3_18", "r2plus1d_18")


def describe_source(what: str | LibrarySource) -> LibraryModel:
    """Describe a folder that ``save_pretrained`` or timm wrote, or ``module:name`` of torchvision or timm.

    Raises:
        DeployError: it is neither, its inputs and outputs cannot be determined, or it cannot be served.
    """
    made = LibrarySource(name=what) if isinstance(what, str) else what
    source, weights = made.name, made.weights
    folder = Path(source)
    if folder.is_dir():
        if made.kwargs or weights:
            raise DeployError(
                f"--from {source}: a folder says itself what its model is made with, and has its weights"
            )
        return describe_folder(folder)
    module, _, name = source.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", module) or not re.fullmatch(r"\w+(\.\w+)*", name):
        raise DeployError(
            f"--from {shown(source)}: neither an existing folder nor a MODULE:NAME",
            hint="expected for example torchvision.models:resnet50, or a folder written by save_pretrained",
        )
    given = dict(made.kwargs)
    if refused := [key for key in ("pretrained", "weights", "weights_backbone") if given.get(key)]:
        raise DeployError(
            f"--model-kwargs: {refused[0]} would download weights, and a server uses no network",
            hint="save the weights, and name their file with --weights",
        )
    try:
        found = _vision(source, module, name, given)
        check(*found.inputs, *found.outputs)
    except UNTOLD as error:
        raise DeployError(
            f"--from {source}: inputs and outputs cannot be determined from {json.dumps(given)}",
            hint=_BY_HAND.format(source=source),
        ) from error
    if weights == "none":
        return replace(found, parameters={**found.parameters, "MODEL_WEIGHTS": "none"})
    if weights is not None:
        return replace(found, weights=_weights(Path(weights)))
    return found


def _weights(path: Path) -> Path:
    holds, problem = examine(str(path)) if path.exists() else (False, "there is no such file")
    if problem or not holds:
        why = problem or "it is none that torch.save or safetensors wrote"
        raise DeployError(f"--weights {path}: {why}", hint="name the file of a state_dict, or: none")
    return path


def _vision(source: str, module: str, name: str, given: dict[str, Any]) -> LibraryModel:
    """Describe the model that *name* of *module* (torchvision or timm) returns for the arguments *given*."""
    untold = DeployError(
        f"--from {source}: inputs and outputs of a class cannot be determined from its name",
        hint=_BY_HAND.format(source=source),
    )
    project = module.split(".")[0]
    if project == "timm":
        if module != "timm" and not module.startswith("timm.models"):
            raise untold
        made = given.get("model_name") if name == "create_model" else name
        key, maker = "model_name", "timm:create_model"
    elif module.startswith("torchvision.models"):
        made = given.get("name") if name == "get_model" else name
        key, maker = "name", "torchvision.models:get_model"
    else:
        raise untold
    if not isinstance(made, str):
        raise DeployError(
            f"--from {source}: it makes models of any name, and none is given",
            hint=f'--model-kwargs \'{{"{key}": "resnet18"}}\' with {maker}',
        )
    if _NO_MODEL.match(made) or (module == "timm" and name != "create_model"):
        raise DeployError(
            f"--from {source}: {made} is not a function that makes a model",
            hint=f"expected for example {project + '.models' if project == 'torchvision' else 'timm.models'}:resnet18",
        )
    tensors = _timm(made, given) if project == "timm" else _torchvision(source, module, made, given)
    return LibraryModel(
        what=f"{made} of {project}: images with three channels, scaled as in the training of its weights",
        inputs=tensors[:1],
        outputs=tensors[1:],
        dependencies=(project, "torchvision") if project == "timm" else (project,),
        parameters={"MODEL_CLASS": source, **({"MODEL_KWARGS": json.dumps(given)} if given else {})},
    )


def _floats(name: str, *dims: int) -> Tensor:
    return Tensor(name=name, data_type="FP32", dims=dims)


def _timm(made: str, given: Mapping[str, Any]) -> tuple[Tensor, ...]:
    if given.get("features_only") or given.get("num_classes") == 0:
        raise ValueError(made)
    sized = re.search(r"_(\d{3})(?![\d])", made)
    size = given.get("img_size") or (int(sized[1]) if sized else 518 if "dinov2" in made else 224)
    height, width = size if isinstance(size, list) else (size, size)
    image = _floats("image", int(given.get("in_chans", 3)), int(height), int(width))
    return image, _floats("scores", int(given.get("num_classes", 1000)))


def _torchvision(source: str, module: str, made: str, given: Mapping[str, Any]) -> tuple[Tensor, ...]:
    kind = module.removeprefix("torchvision.models").removeprefix(".").split(".")[0]
    if kind == "segmentation":
        classes = int(given.get("num_classes", 21))
        return _floats("image", 3, 224, 224), _floats("out", classes, 224, 224)
    if kind == "video" and made in _CLIPS:
        return _floats("clip", 3, 16, 112, 112), _floats("scores", int(given.get("num_classes", 400)))
    if kind in ("detection", "optical_flow", "quantization", "video"):
        raise DeployError(
            f"--from {source}: models of torchvision.models.{kind} do not take and return one tensor for a batch",
            hint="write a model.py whose forward takes a batch of images and returns tensors of one shape, with boxes "
            "padded for instance, and its config.pbtxt",
        )
    size = int(given.get("image_size", 299 if made == "inception_v3" else 224))
    return _floats("image", 3, size, size), _floats("scores", int(given.get("num_classes", 1000)))


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
                _copy(model.folder, version, set(model.left_out))
            if model.weights is not None:
                shutil.copyfile(model.weights, version / model.weights.name)
            (draft / "model" / CONFIG).write_text(model.config())
            if target.exists():
                raise DeployError(f"{target} already exists", hint="delete it, or choose another name")
            (draft / "model").rename(target)
    except OSError as error:
        raise DeployError(f"{target} cannot be written: {error.strerror}") from error


def _copy(source: Path, version: Path, left_out: set[str]) -> None:
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if relative.as_posix() in left_out:
            continue
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            (version / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, version / relative)
