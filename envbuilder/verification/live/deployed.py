"""A model put into a sandbox with the archive, beside the other models that it may ask."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.config import ENVIRONMENT, RUNTIME_FILE, TORCH_PLATFORMS, read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.deployment.versions import find_misnamed, served_versions
from envbuilder.foreign.measured import MeasuredManifest, read_measured
from envbuilder.progress import Reporter
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.inputs import NOT_ASKED, Questions
from envbuilder.verification.live.launch import Sandbox, host_compilers

_COMPILE: Final = "TORCH_COMPILE_OPTIONAL_PARAMETERS"


def serve_in_place(models: Iterable[DeployedModel], environment: Path) -> None:
    """Let *models* name the folder *environment*: a server does not extract it, and uses it where it is."""
    for deployed in models:
        path = deployed.folder / "config.pbtxt"
        path.write_text(set_parameter(path.read_text(), ENVIRONMENT, str(environment)))


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployedModel:
    """A model in a sandbox, deployed with the archive."""

    sandbox: Sandbox
    deployment: Deployment | None
    """None: it runs in another environment, or in none."""
    folder: Path
    """Its folder in the sandbox's repository."""
    config: model_config_pb2.ModelConfig
    version: str
    older: bool = False
    """Whether a later version is served as well, and judged by itself."""
    questions: Questions = NOT_ASKED
    compiler: str | None = None
    """The path in the environment of the C++ compiler that it brings along."""
    incomplete: bool = False
    """Whether only a server knows what its configuration is in the end."""
    read_questions: Callable[[model_config_pb2.ModelConfig], Questions] | None = None
    """Returns what it is asked, once its configuration is complete; VerifyError where that does not fit."""
    apart: str | None = None
    """Why the archive's Python cannot run it; None: it can."""
    neighbours: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The other models that it may ask, as :mod:`envbuilder.guest.neighbours` has them."""

    @property
    def name(self) -> str:
        """What it is called in the repository."""
        return str(self.config.name)

    @property
    def title(self) -> str:
        """What it is called where checks tell of it: its name, and the version if that is not the latest."""
        return f"{self.name}/{self.version}" if self.older else self.name

    @property
    def key(self) -> str:
        """How the names of its files begin."""
        return f"{self.name}-{self.version}" if self.older else self.name

    @property
    def outputs(self) -> Path:
        """Where its answers are, eager's if it has an eager form, once a probe ran."""
        return self.sandbox.root / "verify" / f"outputs-{self.key}.npz"

    @property
    def hidden(self) -> tuple[str, ...]:
        """What of this machine must not be in reach: its compilers, where the environment brings its own."""
        return host_compilers() if self.compiler is not None else ()

    @property
    def file(self) -> str:
        """The file in the version folder that Triton imports."""
        return self.config.default_model_filename or "model.py"

    @property
    def own(self) -> bool:
        """Whether it is a ``TritonPythonModel`` of the user's, or an ensemble: nothing that has an eager form."""
        return self.file != RUNTIME_FILE

    @property
    def decoupled(self) -> bool:
        """Whether it may send any number of responses."""
        return bool(self.config.model_transaction_policy.decoupled)

    def job(self) -> dict[str, Any]:
        """Return what the guest has to know of it."""
        return {
            "model": self.sandbox.seen(self.folder),
            "version": self.version,
            "file": self.file,
            "config": sample.stub_config(self.config),
        }


def prepare(
    archive: Path,
    model: Path,
    sandbox: Sandbox,
    envs: Path,
    *,
    compile: Mapping[str, Any],
    compiler: str | None = None,
    reporter: Reporter,
) -> DeployedModel:
    """Deploy *model* with *archive* into *sandbox*.

    It is torch.compile that serves it, even where the runtime would have another way, with the options *compile* if
    there are any, else with the model's own: that it works is what the environment has to prove.

    Raises:
        DeployError: the model directory cannot be deployed.
    """
    envs.mkdir(exist_ok=True)
    with suppress(OSError):  # another file system: then deploy copies it; or it is there
        os.link(archive.resolve(), envs / archive.name)
    deployment = deploy(
        archive,
        model,
        sandbox.root / "models",
        # Whatever environment the model has: it is this one that is looked at.
        DeployOptions(layout="shared", shared=envs, replace=True),
        describe=_measured,  # what is wrong with others' environments is for the checks to say
        reporter=reporter,
    )
    config = read_config(deployment.folder).message
    if compile or (config.default_model_filename == RUNTIME_FILE and _COMPILE not in config.parameters):
        path = deployment.folder / "config.pbtxt"
        path.write_text(set_parameter(path.read_text(), _COMPILE, json.dumps(dict(compile))))
        config = read_config(deployment.folder).message
    config.name = deployment.model
    return DeployedModel(
        sandbox=sandbox,
        deployment=deployment,
        folder=deployment.folder,
        config=config,
        version=latest_version(deployment.folder, config),
        compiler=compiler,
    )


def _measured(path: Path) -> MeasuredManifest:
    """Measure an archive once for all models that are deployed with it: it is read to its end."""
    found = path.stat()
    return _measured_once(path, found.st_ino, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=1)
def _measured_once(path: Path, *_: int) -> MeasuredManifest:
    return read_measured(path)


def latest_version(folder: Path, config: model_config_pb2.ModelConfig) -> str:
    """Return the latest version that Triton serves of the model in *folder*; ``1`` where it serves none."""
    return max(served_versions(folder, config), key=int, default="1")


def other_backend(message: model_config_pb2.ModelConfig) -> str:
    """Return which backend or platform other than Python serves a model; empty: none.

    A ``platform`` is the older way to name a backend: ``onnxruntime_onnx`` for ``onnxruntime``.
    """
    if message.runtime:
        return ""
    if message.platform in TORCH_PLATFORMS:
        return "pytorch"
    return str(message.platform or (message.backend if message.backend != "python" else ""))


def find_other_name(config: model_config_pb2.ModelConfig, folder: Path) -> tuple[str, str] | None:
    """Say that a server refuses a model whose *config* has another name than its *folder*, and what to do."""
    if config.name in ("", folder.name):
        return None
    text = f"config.pbtxt says name: {config.name!r}, and the folder is {folder.name!r}: a server takes no other name"
    return text, "rename the folder, or correct name in config.pbtxt"


def find_obstacle(deployed: DeployedModel) -> tuple[str, str] | None:
    """Return why no server can load a version that it would serve, and what to do; None: nothing is in the way."""
    config, folder = deployed.config, deployed.folder
    misnamed = find_other_name(read_config(folder).message, folder)
    if misnamed is not None:
        return misnamed
    versions = served_versions(folder, config)
    if not versions:
        return (
            "none of its version folders is served: version_policy asks for others",
            "correct version_policy in config.pbtxt, or add the version folder that it asks for",
        )
    folders = find_misnamed(folder, config)
    if folders:
        name, wrong = next(iter(folders.items()))
        return wrong, f"rename or move {name}: a version is named by its number only"
    if config.HasField("ensemble_scheduling") or config.runtime or other_backend(config):
        return None
    for version in versions:
        if not (folder / version / deployed.file).is_file():
            named = "default_model_filename" if config.default_model_filename else "Triton's default"
            return (
                f"version {version} has no file {deployed.file} ({named})",
                "put the file into the version folder, or correct default_model_filename in config.pbtxt",
            )
    return None
