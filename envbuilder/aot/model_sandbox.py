"""A model and its environment in a sandbox, in which the guest runs as a release runs a stub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from envbuilder.catalog.triton import Launch, find_release
from envbuilder.deployment.config import ENVIRONMENT, RUNTIME_FILE, migrated_from, read_config
from envbuilder.deployment.environments import read_environment
from envbuilder.deployment.lint import is_plain_python_model
from envbuilder.deployment.model_directory import model_files
from envbuilder.deployment.runtime_files import is_runtime_file, runtime_files
from envbuilder.deployment.tree import link_file, link_tree, unpack
from envbuilder.deployment.versions import version_folders
from envbuilder.errors import DeployError
from envbuilder.util.documents import Record
from envbuilder.verification.live import inputs
from envbuilder.verification.live.guest_process import run_guest
from envbuilder.verification.live.launch import Sandbox

COMPILE_TIMEOUT: Final = 3600.0
"""Timeout in seconds for one version of a model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSandbox:
    """A model in a sandbox, as a server would load it."""

    sandbox: Sandbox
    environment: Path
    """The archive, or the folder that one is unpacked into; laid out in the sandbox before anything runs."""
    identity: str
    """Identifies the environment."""
    launch: Launch
    folder: Path
    """The model's folder in the sandbox."""
    config: model_config_pb2.ModelConfig

    @classmethod
    def make(cls, environment: Path, model: Path, scratch: Path, *, isolate: bool = True) -> ModelSandbox:
        """Copy the files of the model directory *model* into the empty folder *scratch*, with the runtime.

        Raises:
            DeployError: the model directory or the environment cannot be used.
        """
        manifest, identity = read_environment(environment)
        read = read_config(model)
        migrated_from(read)
        config = type(read.message)()
        config.CopyFrom(read.message)
        config.name = config.name or model.resolve().name
        config.parameters.pop(ENVIRONMENT, None)
        versions = version_folders(model)
        if any(is_plain_python_model(version, read) for version in versions):
            raise DeployError(
                f"{model} has a TritonPythonModel of its own, which controls its own compilation",
                hint="the runtime serves an nn.Module, or a function, in model.py",
            )
        config.default_model_filename = RUNTIME_FILE
        sandbox = Sandbox.make(scratch / "root", isolate=isolate)
        folder = sandbox.root / "models" / config.name
        for path in filter(lambda path: not is_runtime_file(path), model_files(model)):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            link_file(str((model / path).resolve()), str(target))
        for version in versions:
            for path, file in runtime_files(RUNTIME_FILE).items():
                target = folder / version.name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        return cls(
            sandbox=sandbox,
            environment=environment,
            identity=identity,
            launch=find_release(manifest.release).launch,
            folder=folder,
            config=config,
        )

    def lay_out(self) -> None:
        """Put the environment into the sandbox."""
        self.sandbox.environment.rmdir()
        if self.environment.is_dir():
            link_tree(self.environment, self.sandbox.environment)
        else:
            unpack(self.environment, self.sandbox.environment)

    def ask(self, version: str, task: str, *, made_of: str = "", kinds: Sequence[str] = ()) -> Record:
        """Run the guest with *task*: ``package``, ``caches`` or ``describe``; return its answer.

        Raises:
            DeployError: the model does not load, or the guest's process died.
        """
        sandbox, config = self.sandbox, self.config
        job = {
            "task": task,
            "model": sandbox.seen(self.folder),
            "version": version,
            "file": RUNTIME_FILE,
            "config": inputs.stub_config(config),
            "sizes": inputs.batch_sizes(config),
            "made_of": made_of,
            "kinds": list(kinds),
        }
        name = f"{task}-{version}"
        variables = {"TORCHINDUCTOR_CACHE_DIR": sandbox.seen(sandbox.root / "verify" / f"{name}.cache")}
        done = run_guest(sandbox, self.launch, name, job, variables=variables, timeout=COMPILE_TIMEOUT)
        found = done.answer
        if found is None:
            raise DeployError(f"{config.name} cannot be run in its environment: {done.how}")
        if "failed" in found:
            raise DeployError(
                f"{config.name}, version {version}: {found.record('failed').free_text('text')}",
                hint="the model must load before it can be compiled: run `envbuilder verify` for details",
            )
        return found
