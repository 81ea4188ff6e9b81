"""Lint a model directory: find what a server would reject, or silently ignore.

Sources: Triton core's ``model_repository_manager.cc``, ``model_lifecycle.cc`` and ``model_config_utils.cc``, the
Python backend's ``python_be.cc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tritonclient.grpc import model_config_pb2

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import find_release
from envbuilder.deployment.code_reads import mentioned, read_by_code
from envbuilder.deployment.config import MODEL_DIRECTORY, RUNTIME_FILE, ModelConfig
from envbuilder.deployment.plain_model import MOST_CODE, defines_model
from envbuilder.deployment.runtime_files import foreign_name
from envbuilder.deployment.unread_weights import find_elsewhere
from envbuilder.deployment.versions import (
    VERSION,
    find_misnamed,
    is_numbered,
    loaded_versions,
    version_folders,
)
from envbuilder.deployment.weight_files import (
    WeightSet,
    choose_named,
    find_weights,
    is_pretrained,
    preferred,
    without_model,
)
from envbuilder.errors import DeployError
from envbuilder.util.documents import is_inside
from envbuilder.util.files import read_regular
from envbuilder.util.printable import is_plain, printable_line, shown
from envbuilder.util.zips import BadZipError, zip_names

STUB = "triton_python_backend_stub"
MODEL_WEIGHTS = "MODEL_WEIGHTS"
"""The parameter that names the weights of a version."""
_LOADS = re.compile(r"\b(from_pretrained|load_state_dict|load_file|load_model|safe_open|torch\.load)\b")
"""Matches code that reads weights itself."""
_LIBRARIES = ("torchvision.models", "timm", "transformers:", "torch.nn:")
"""Prefixes of MODEL_CLASS whose classes have random weights at first; those of other libraries may load their own."""
_RESERVED_BACKENDS = ("python", "pytorch", "onnxruntime", "tensorrt", "tensorflow", "openvino", "dali", "fil")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A finding about a model directory."""

    id: str
    """A stable identifier."""
    level: Literal["error", "warning"]
    message: str
    hint: str | None = None


POLLED_ENVIRONMENT = Finding(
    id="polled-environment",
    level="warning",
    message="the environment's folder is inside the model's: a polling server checks all of its files each time, "
    "and reloads the model when one changes",
    hint="use the layout shared, which keeps it outside",
)


def unknown_use(reason: str) -> Finding:
    """Return the finding that the environments in use are unknown, for *reason*."""
    return Finding(
        id="unknown-use",
        level="warning",
        message=f"unused environments cannot be determined: {reason}",
    )


def check_name(name: str, where: str) -> None:
    """Reject a model or backend name that Triton, a URL or a folder does not allow.

    Raises:
        DeployError: *name* is refused; *where* says where it was found.
    """
    problem = None
    if not name.strip():
        problem = "it is empty"
    elif "/" in name or "\\" in name or name in (".", ".."):
        problem = "Triton rejects names that point to another folder"
    elif name.startswith("."):
        problem = "a folder of this name would be hidden"
    elif name != name.strip() or not name.isprintable() or re.search(r"[?#%]", name):
        problem = "it is not usable in a URL (leading or trailing blanks, control characters, ?, # or %)"
    elif len(name.encode()) > 200:
        problem = "it is longer than 200 bytes"
    if problem is not None:
        raise DeployError(
            f"{where}: {name!r} is not a valid model name: {problem}", hint="for instance resnet50"
        )


def check_backend_name(name: str) -> None:
    """Reject an invalid backend name, or the name of a backend in Triton's images.

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
    """Reject an EXECUTION_ENV_PATH that a server would not find.

    Raises:
        DeployError: it is neither absolute nor below ``$$TRITON_MODEL_DIRECTORY``.
    """
    parts = path.split("/")
    if not path.startswith(("/", f"{MODEL_DIRECTORY}/")) or ".." in parts or MODEL_DIRECTORY in path[1:]:
        raise DeployError(
            f"{path!r} is not a path where a server finds an environment",
            hint=f"expected an absolute path, or one that starts with {MODEL_DIRECTORY}/ and contains no `..`",
        )
    if not path.isprintable():  # also bytes that are not UTF-8, which config.pbtxt cannot hold
        raise DeployError(
            f"{path!r} cannot be written into config.pbtxt: it contains control characters, or is not UTF-8",
            hint="set another path with --shared-as",
        )


def is_plain_python_model(version: Path, config: ModelConfig) -> bool:
    """Whether a version has its own ``TritonPythonModel``, which needs no runtime."""
    name = config.message.default_model_filename
    own = name.endswith(".py") and name != RUNTIME_FILE and is_inside(name)
    return defines_model(version / (name if own else "model.py"))


def find_problems(model: Path, config: ModelConfig, manifest: Manifest, *, plain: bool) -> Iterator[Finding]:
    """Check *model* as far as that needs no server; *plain*: it has its own ``TritonPythonModel``."""
    yield from _versions(model, config.message)
    name = config.message.default_model_filename
    if name and not (is_inside(name) and is_plain(name)):
        yield Finding(
            id="model-filename",
            level="error",
            message=f"config.pbtxt: default_model_filename is {shown(name)}, not a file in the version folder",
        )
    if not plain:
        for version in loaded_versions(model, config.message):
            yield from _loadable(version, config.message)
        yield from _tensors(config.message)
    yield from _environment(model, config.message, manifest, plain=plain)


def _versions(model: Path, message: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    versions = {int(path.name) for path in version_folders(model)}
    if not versions:
        yield Finding(
            id="no-version",
            level="error",
            message=f"{model} has no version folder",
            hint="put the model's files into a folder named 1",
        )
        return
    wanted = set(message.version_policy.specific.versions)
    if missing := sorted(wanted - versions):
        yield Finding(
            id="version-missing",
            level="warning" if wanted & versions else "error",  # Triton serves those that are there
            message=f"version_policy asks for version {missing[0]}, but {model} has no such folder",
            hint="correct `specific` in config.pbtxt, or add the folder",
        )
    wrong = find_misnamed(model, message)
    for path in sorted(model.iterdir()):
        if path.name in wrong or (
            path.is_dir() and is_numbered(path.name) and not VERSION.fullmatch(path.name)
        ):
            ignored = f"folder {shown(path.name)}: Triton parses a version from its name, or ignores it"
            yield Finding(
                id="version-name",
                level="error" if path.name in wrong else "warning",
                message=wrong.get(path.name, ignored),
                hint="versions are named 1, 2, 3, …; give other folders a name that starts with a letter",
            )


def _loadable(version: Path, config: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    foreign = foreign_name(version)
    if foreign is not None:
        yield Finding(
            id="runtime-name",
            level="error",
            message=f"version {version.name} holds {foreign}, the name under which the runtime is deployed",
            hint=f"give {foreign} another name",
        )
    where = f"version {version.name}"
    if (version / "model.pt2").is_file():
        yield from _beside_program(where, config)
        return
    sets: Sequence[WeightSet] = preferred(str(version), find_weights(str(version), [RUNTIME_FILE]))
    wanted = config.parameters[MODEL_WEIGHTS].string_value if MODEL_WEIGHTS in config.parameters else ""
    if wanted:
        sets = [] if wanted == "none" else [choose_named(str(version), wanted)]
    defined = _needs_no_code(version, config)
    yield from _unreadable(sets, where)
    if (version / "model.py").is_file():
        if _names_library(config):
            yield Finding(
                id="class-and-code",
                level="error",
                message=f"{where} contains a model.py, and MODEL_CLASS names a class of a library",
                hint="keep one of them",
            )
        yield from _beside_code(version, sets, named=bool(wanted))
    elif not (sets or wanted or defined):
        yield Finding(
            id="nothing-to-load",
            level="error",
            message=f"{where} contains no model.py, model.pt, model.safetensors or model.pt2",
        )
    elif not (sets or wanted or "MODEL_CLASS" in config.parameters or (version / "modules.json").is_file()):
        yield Finding(
            id="config-without-weights",
            level="warning",
            message=f"{where} contains a config.json but no weights: a server will not load it",
            hint="copy all files that save_pretrained wrote, model.safetensors among them, into the version folder",
        )
    elif not (sets or wanted) and _names_library(config):
        yield from _without_weights(version, config)
    elif len(sets) > 1:
        yield _unclear(sets, where)
    elif sets and not (defined or sets[0].is_program or _is_torchscript(version / sets[0].name)):
        yield Finding(
            id="weights-without-code",
            level="error",
            message=f"{where}: {sets[0].name} contains only weights, and there is no model.py to load them into",
            hint=f"{without_model(str(version))}; or name a class of a library (MODEL_CLASS: "
            '"torchvision.models:resnet50"), or save TorchScript or an exported program',
        )


def _names_library(config: model_config_pb2.ModelConfig) -> bool:
    return "MODEL_CLASS" in config.parameters and ":" in config.parameters["MODEL_CLASS"].string_value


def _needs_no_code(version: Path, config: model_config_pb2.ModelConfig) -> bool:
    """Whether a library defines the model: MODEL_CLASS names a class of one, or Hugging Face wrote the folder."""
    return _names_library(config) or is_pretrained(str(version))


def _without_weights(version: Path, config: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    """Yield a finding for a library class without weights, which the runtime refuses if it has parameters."""
    if _LOADS.search(_code(version)):
        return  # code in the version folder may read them from elsewhere
    named = config.parameters["MODEL_CLASS"].string_value
    yield Finding(
        id="class-without-weights",
        level="error" if named.startswith(_LIBRARIES) else "warning",
        message=f"version {version.name} contains no weights for {printable_line(named)}, which would be random",
        hint="put the weights into the version folder, as torch.save or safetensors write them; "
        'parameters { key: "MODEL_WEIGHTS" value { string_value: "none" } } serves it as it is made',
    )


def _beside_program(where: str, config: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    """Find parameters that have no effect on a model.pt2: loading refuses them."""
    for name in ("MODEL_CLASS", "MODEL_FUNCTION", "MODEL_KWARGS", MODEL_WEIGHTS):
        value = config.parameters[name].string_value if name in config.parameters else ""
        if value and (name, value) != (MODEL_WEIGHTS, "model.pt2") and value.strip() != "{}":
            yield Finding(
                id="parameter-without-effect",
                level="error",
                message=f"{where}: {name} has no effect, as model.pt2 is a model by itself and is served",
                hint=f"remove {name}, or move model.pt2 out of the version folder",
            )


def _unreadable(sets: Sequence[WeightSet], where: str) -> Iterator[Finding]:
    for one in sets:
        if one.problem:
            yield Finding(
                id="weights-unreadable",
                level="error",
                message=f"{where}: {printable_line(one.name)} cannot be read: {printable_line(one.problem)}",
                hint="copy all shards of the weights, and their index, into the version folder"
                if len(one.files) != 1
                else None,
            )


def _beside_code(version: Path, sets: Sequence[WeightSet], *, named: bool) -> Iterator[Finding]:
    """Find weights beside a model.py that are ambiguous or unused, judging by its source."""
    folder, where = str(version), f"version {version.name}"
    if named or _LOADS.search(_code(version)):
        return  # the load sees what its code reads
    spoken = read_by_code(folder, [one.name for one in sets])
    left = [one for one in sets if one.name not in spoken] or list(sets)
    if len(left) > 1:
        yield _unclear(left, where)
    elsewhere = [] if sets else find_elsewhere(folder)
    unread = [name for name in elsewhere if Path(name).name not in mentioned(folder, [Path(name).name])]
    if unread:
        yield Finding(
            id="weights-not-read",
            level="warning",
            message=f"{where}: unused weights {', '.join(map(printable_line, unread[:3]))}",
            hint="put weights into the version folder, as torch.save or safetensors write them; "
            'parameters { key: "MODEL_WEIGHTS" … } names a file below it',
        )


def _unclear(sets: Sequence[WeightSet], where: str) -> Finding:
    return Finding(
        id="weights-unclear",
        level="error",
        message=f"{where} contains several weight files: {', '.join(printable_line(one.name) for one in sets)}",
        hint='keep one, or name it: parameters { key: "MODEL_WEIGHTS" value { string_value: "…" } }',
    )


def _code(version: Path) -> str:
    texts = []
    for path in sorted(version.glob("*.py")):
        try:
            texts.append(read_regular(path, most=MOST_CODE).decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(texts)


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
            lacks = [key for key in ("name", "data_type", "dims") if not getattr(tensor, key)]
            if lacks:
                yield Finding(
                    id="tensor-incomplete",
                    level="error",
                    message=f"config.pbtxt: {what} has no {', no '.join(lacks)}",
                )
            if tensor.name in names:
                yield Finding(id="tensor-twice", level="error", message=f"config.pbtxt: {what} is duplicated")
            names.add(tensor.name)


def _environment(
    model: Path, message: model_config_pb2.ModelConfig, manifest: Manifest, *, plain: bool
) -> Iterator[Finding]:
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
            f"it must come from exactly the server's release and be linked to Python {manifest.python}",
            hint="Triton 23.08 and later need no custom stub",
        )
    gpu = model_config_pb2.ModelInstanceGroup.KIND_GPU
    if manifest.cuda == "cpu" and any(group.kind == gpu for group in message.instance_group):
        yield Finding(
            id="gpu-without-cuda",
            level="warning" if plain else "error",  # a user's own model may not use torch
            message="instance_group asks for KIND_GPU, and the archive's torch is a CPU build",
            hint="use an archive with CUDA, or set KIND_CPU",
        )
