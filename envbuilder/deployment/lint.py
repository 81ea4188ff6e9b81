"""What a server would refuse, or silently ignore, found before it is deployed.

Sources: Triton core's ``model_repository_manager.cc``, ``model_lifecycle.cc`` and ``model_config_utils.cc``, the
Python backend's ``python_be.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tritonclient.grpc import model_config_pb2

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import find_release
from envbuilder.deployment.config import MODEL_DIRECTORY, RUNTIME_FILE, ModelConfig
from envbuilder.deployment.runtime_files import foreign_name
from envbuilder.errors import DeployError
from envbuilder.util.documents import is_inside
from envbuilder.util.files import read_regular
from envbuilder.util.printable import is_plain, shown
from envbuilder.util.zips import BadZipError, zip_names

STUB = "triton_python_backend_stub"
_VERSION = re.compile(r"0|[1-9][0-9]*")
_STARTS_LIKE_A_VERSION = re.compile(r"\s*[+-]?[0-9]")
_WEIGHTS = ("model.pt", "model.safetensors")
_PLAIN_MODEL = re.compile(r"(?:class|from\s.*\simport)\s.*\bTritonPythonModel\b")
_MOST_CODE = 16 * 2**20
"""Bytes of a model's code that are looked at."""
_LONGEST_LINE = 1000
"""Characters of a line of it: the pattern above takes the square of them."""
_RESERVED_BACKENDS = ("python", "pytorch", "onnxruntime", "tensorrt", "tensorflow", "openvino", "dali", "fil")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something about a model directory that its owner should know."""

    id: str
    """Stable."""
    level: Literal["error", "warning"]
    message: str
    hint: str | None = None


POLLED_ENVIRONMENT = Finding(
    id="polled-environment",
    level="warning",
    message="the environment's folder lies in the model's: a server that polls looks at each of its files every time, "
    "and loads the model again when one changes",
    hint="the layout shared keeps it elsewhere",
)


def unknown_use(reason: str) -> Finding:
    """Say that nobody knows which environments are in use, for *reason*."""
    return Finding(
        id="unknown-use",
        level="warning",
        message=f"which environments no model names any more cannot be told: {reason}",
    )


def check_name(name: str, where: str) -> None:
    """Refuse a model or backend name that is none for Triton, for a URL, or for a folder.

    Raises:
        DeployError: *name* is refused; *where* says where it was found.
    """
    problem = None
    if not name.strip():
        problem = "it is empty"
    elif "/" in name or "\\" in name or name in (".", ".."):
        problem = "Triton refuses names that lead to another folder"
    elif name.startswith("."):
        problem = "a folder of this name would be hidden"
    elif name != name.strip() or not name.isprintable() or re.search(r"[?#%]", name):
        problem = "it cannot be asked for in a URL (blanks at its ends, control characters, ?, # or %)"
    elif len(name.encode()) > 200:
        problem = "it is longer than 200 bytes"
    if problem is not None:
        raise DeployError(
            f"{where}: {name!r} is no name for a model: {problem}", hint="for instance resnet50"
        )


def check_backend_name(name: str) -> None:
    """Refuse a backend name that is none, or one of the backends that Triton's images hold.

    Raises:
        DeployError: *name* is refused.
    """
    check_name(name, "backend")
    if name in _RESERVED_BACKENDS:
        raise DeployError(
            f"backend: {name!r} is the name of one of Triton's own backends",
            hint=f"for instance torch-{name}",
        )


def check_environment_path(path: str) -> None:
    """Refuse an EXECUTION_ENV_PATH that a server would not find.

    Raises:
        DeployError: it is neither absolute nor below ``$$TRITON_MODEL_DIRECTORY``.
    """
    parts = path.split("/")
    if not path.startswith(("/", f"{MODEL_DIRECTORY}/")) or ".." in parts or MODEL_DIRECTORY in path[1:]:
        raise DeployError(
            f"{path!r} is no path that a server finds an environment by",
            hint=f"it is absolute, or starts with {MODEL_DIRECTORY}/ and stays below it: no `..`",
        )
    if not path.isprintable():  # bytes that are no UTF-8, too: config.pbtxt cannot hold them
        raise DeployError(
            f"{path!r} cannot be written into config.pbtxt: it has control characters, or is not UTF-8",
            hint="--shared-as names that folder otherwise",
        )


def version_folders(model: Path) -> list[Path]:
    """Return the version folders of a model directory, in order."""
    found = [path for path in model.iterdir() if path.is_dir() and _VERSION.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name))


def is_plain_python_model(version: Path, config: ModelConfig) -> bool:
    """Whether a version holds a ``TritonPythonModel`` of its own, which needs no runtime."""
    name = config.message.default_model_filename
    own = name.endswith(".py") and name != RUNTIME_FILE and is_inside(name)
    path = version / (name if own else "model.py")
    try:
        text = read_regular(path, most=_MOST_CODE).decode("utf-8", "replace")
    except OSError:
        return False
    return any(
        _PLAIN_MODEL.match(line[:_LONGEST_LINE]) for line in text.splitlines() if "TritonPythonModel" in line
    )


def find_problems(model: Path, config: ModelConfig, manifest: Manifest, *, plain: bool) -> Iterator[Finding]:
    """Look at everything about *model* that can be known without a server; *plain*: it brings its own runtime."""
    yield from _versions(model, config.message)
    name = config.message.default_model_filename
    if name and not (is_inside(name) and is_plain(name)):
        yield Finding(
            id="model-filename",
            level="error",
            message=f"config.pbtxt: default_model_filename is {shown(name)}, not a file in the version folder",
        )
    if not plain:
        for version in version_folders(model):
            yield from _loadable(version)
        yield from _tensors(config.message)
    yield from _environment(model, config.message, manifest)


def _versions(model: Path, message: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    versions = {int(path.name) for path in version_folders(model)}
    if not versions:
        yield Finding(
            id="no-version",
            level="error",
            message=f"{model} has no version folder",
            hint="put the model's files into a folder called 1",
        )
        return
    wanted = message.version_policy.specific.versions
    if missing := sorted(set(wanted) - versions):
        yield Finding(
            id="version-missing",
            level="error",
            message=f"version_policy asks for version {missing[0]}, and {model} has no such folder",
        )
    for path in sorted(model.iterdir()):
        if path.is_dir() and not _VERSION.fullmatch(path.name) and _STARTS_LIKE_A_VERSION.match(path.name):
            yield Finding(
                id="version-name",
                level="warning",
                message=f"folder {path.name!r}: Triton reads a version out of its name, or ignores it",
                hint="versions are called 1, 2, 3, …; give other folders a name that starts with a letter",
            )


def _loadable(version: Path) -> Iterator[Finding]:
    foreign = foreign_name(version)
    if foreign is not None:
        yield Finding(
            id="runtime-name",
            level="error",
            message=f"version {version.name} holds {foreign}, the name under which the runtime is deployed",
            hint=f"give {foreign} another name",
        )
    has_code = (version / "model.py").is_file()
    weights = [name for name in _WEIGHTS if (version / name).is_file()]
    if has_code or (version / "model.pt2").is_file():
        return
    where = f"version {version.name}"
    if not weights:
        yield Finding(
            id="nothing-to-load",
            level="error",
            message=f"{where} holds no model.py, model.pt, model.safetensors or model.pt2",
        )
    elif "model.pt" not in weights or not _is_torchscript(version / "model.pt"):
        yield Finding(
            id="weights-without-code",
            level="error",
            message=f"{where}: {weights[0]} holds weights only, and there is no model.py to put them into",
            hint="add the model.py that defines the nn.Module, or save TorchScript or an exported program",
        )


def _is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: it has ``constants.pkl``, where a state_dict has none."""
    try:
        return any(name.endswith("/constants.pkl") for name in zip_names(path))
    except (OSError, BadZipError):
        return False


def _tensors(message: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    for kind, tensors in (("input", message.input), ("output", message.output)):
        if not tensors:
            yield Finding(
                id="no-tensors",
                level="error",
                message=f"config.pbtxt has no {kind}: the runtime needs each one's dims",
            )
        names: set[str] = set()
        for index, tensor in enumerate(tensors):
            what = f"{kind} {tensor.name!r}" if tensor.name else f"{kind} number {index + 1}"
            lacks = [
                field
                for field, given in (
                    ("name", tensor.name),
                    ("data_type", tensor.data_type),
                    ("dims", list(tensor.dims)),
                )
                if not given
            ]
            if lacks:
                yield Finding(
                    id="tensor-incomplete",
                    level="error",
                    message=f"config.pbtxt: {what} has no {', no '.join(lacks)}",
                )
            if tensor.name in names:
                yield Finding(
                    id="tensor-twice", level="error", message=f"config.pbtxt: {what} is there twice"
                )
            names.add(tensor.name)


def _environment(model: Path, message: model_config_pb2.ModelConfig, manifest: Manifest) -> Iterator[Finding]:
    release = find_release(manifest.release)
    minor = ".".join(manifest.python.split(".")[:2])
    if minor not in release.pythons:
        yield Finding(
            id="stub-python",
            level="error",
            message=f"the archive holds Python {manifest.python}, "
            f"and the stub of Triton {release.name} is linked to {' or '.join(release.pythons)}",
            hint="build the environment with the release's Python",
        )
    if (model / STUB).exists():
        yield Finding(
            id="own-stub",
            level="warning",
            message=f"{STUB} in the model directory replaces the server's: "
            f"it must come from the very release of the server and be linked to Python {manifest.python}",
            hint="from Triton 23.08 on no stub of one's own is needed",
        )
    gpu = model_config_pb2.ModelInstanceGroup.KIND_GPU
    if manifest.cuda == "cpu" and any(group.kind == gpu for group in message.instance_group):
        yield Finding(
            id="gpu-without-cuda",
            level="error",
            message="instance_group asks for KIND_GPU, and the archive's torch is a CPU build",
            hint="take an archive with CUDA, or say KIND_CPU",
        )
