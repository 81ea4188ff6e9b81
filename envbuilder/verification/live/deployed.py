"""Deploy a model into a sandbox with the archive, beside the other models that it may call."""

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

from envbuilder.archive.names import ReadArchive, open_archive
from envbuilder.deployment.config import ENVIRONMENT, RUNTIME_FILE, TORCH_PLATFORMS, read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.deployment.versions import find_misnamed, served_versions
from envbuilder.foreign.measured import read_measured
from envbuilder.progress import Reporter
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.inputs import NOT_ASKED, Questions
from envbuilder.verification.live.launch import Sandbox, host_compilers

_COMPILE: Final = "TORCH_COMPILE_OPTIONAL_PARAMETERS"


def serve_in_place(models: Iterable[DeployedModel], environment: Path) -> None:
    """Let *models* name the folder *environment*: a server uses it in place instead of extracting it."""
    for deployed in models:
        path = deployed.folder / "config.pbtxt"
        path.write_text(set_parameter(path.read_text(), ENVIRONMENT, str(environment)))


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployedModel:
    """A model in a sandbox, deployed with the archive."""

    sandbox: Sandbox
    deployment: Deployment | None
    """None: it runs in another environment, or needs none."""
    folder: Path
    """Its folder in the sandbox's repository."""
    config: model_config_pb2.ModelConfig
    version: str
    older: bool = False
    """Whether the server serves a later version as well, which is checked separately."""
    questions: Questions = NOT_ASKED
    compiler: str | None = None
    """The path of the environment's own C++ compiler."""
    incomplete: bool = False
    """Whether only a server can complete its configuration."""
    read_questions: Callable[[model_config_pb2.ModelConfig], Questions] | None = None
    """Returns its requests, once its configuration is complete; raises VerifyError if they do not fit."""
    apart: str | None = None
    """Why the archive's Python cannot run it; None: it can."""
    neighbours: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The other models that it may call, in the form of :mod:`envbuilder.guest.neighbours`."""

    @property
    def name(self) -> str:
        """Its name in the repository."""
        return str(self.config.name)

    @property
    def title(self) -> str:
        """Its name in checks: the model's name, with the version if it is not the latest (``scorer/1``)."""
        return f"{self.name}/{self.version}" if self.older else self.name

    @property
    def key(self) -> str:
        """The prefix of the names of its files in the sandbox."""
        return f"{self.name}-{self.version}" if self.older else self.name

    @property
    def outputs(self) -> Path:
        """The file with its outputs, those of eager if it has an eager form, once a probe ran."""
        return self.sandbox.root / "verify" / f"outputs-{self.key}.npz"

    @property
    def hidden(self) -> tuple[str, ...]:
        """Files of this machine to hide: its compilers, if the environment contains its own."""
        return host_compilers() if self.compiler is not None else ()

    @property
    def file(self) -> str:
        """The file in the version folder that Triton imports."""
        return self.config.default_model_filename or "model.py"

    @property
    def own(self) -> bool:
        """Whether it is a user's ``TritonPythonModel``, or an ensemble, which have no eager form."""
        return self.file != RUNTIME_FILE

    @property
    def decoupled(self) -> bool:
        """Whether it may send any number of responses."""
        return bool(self.config.model_transaction_policy.decoupled)

    def job(self) -> dict[str, Any]:
        """Return its description for the guest."""
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

    It is served by torch.compile, even if the runtime would choose otherwise, with the options *compile*, or else
    the model's own: the environment has to prove that this works.

    Raises:
        DeployError: the model directory cannot be deployed.
    """
    envs.mkdir(exist_ok=True)
    with suppress(OSError):  # another file system: then deploy copies it; or it exists already
        os.link(archive.resolve(), envs / archive.name)
    deployment = deploy(
        _opened(archive),
        model,
        sandbox.root / "models",
        # Whichever environment the model names: this one is verified.
        DeployOptions(layout="shared", shared=envs, replace=True),
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


def _opened(path: Path) -> ReadArchive:
    """Read an archive to its end, once for all models that are deployed with it."""
    found = path.stat()
    return _opened_once(path, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


@functools.lru_cache(maxsize=1)
def _opened_once(path: Path, *_: int) -> ReadArchive:
    return open_archive(path, describe=read_measured)  # problems of foreign ones are reported by the checks


def latest_version(folder: Path, config: model_config_pb2.ModelConfig) -> str:
    """Return the latest version of the model in *folder* that Triton serves; ``1`` if none."""
    return max(served_versions(folder, config), key=int, default="1")


def other_backend(message: model_config_pb2.ModelConfig) -> str:
    """Return the backend or platform, other than Python, that serves a model; empty: none.

    A ``platform`` is the older way to name a backend: ``onnxruntime_onnx`` for ``onnxruntime``.
    """
    if message.runtime:
        return ""
    if message.platform in TORCH_PLATFORMS:
        return "pytorch"
    return str(message.platform or (message.backend if message.backend != "python" else ""))


def find_other_name(config: model_config_pb2.ModelConfig, folder: Path) -> tuple[str, str] | None:
    """Return that a server refuses a model whose *config* has another name than its *folder*, and what to do."""
    if config.name in ("", folder.name):
        return None
    text = f"config.pbtxt says name: {config.name!r}, and the folder is {folder.name!r}: a server takes no other name"
    return text, "rename the folder, or correct name in config.pbtxt"


def find_obstacle(deployed: DeployedModel) -> tuple[str, str] | None:
    """Return why no server can load one of its served versions, and what to do; None: nothing prevents it."""
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
