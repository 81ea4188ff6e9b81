"""From a model directory and an archive to a model repository that is an object store.

How Triton resolves ``EXECUTION_ENV_PATH`` there (triton-inference-server/core, ``src/backend_model.cc``,
``TritonModel::Create``): first it *localizes* the model, that is, downloads everything below ``<repository>/<model>``
into a new folder under ``/tmp`` (``S3FileSystem::LocalizePath`` in ``src/filesystem/implementations/s3.h``, and its
like for GCS and Azure; ``TRITON_AWS_MOUNT_DIRECTORY`` names another folder than ``/tmp``). Then
``LocalizePythonBackendExecutionEnvironmentPath`` (``src/model_config_utils.cc``; core pull request 125, October 2022)
puts the repository's address for ``$$TRITON_MODEL_DIRECTORY`` at the *start* of the value, and what lies inside the
model's folder it leaves alone: it is there already, and the Python backend puts the local folder in place of the
variable. So ``$$TRITON_MODEL_DIRECTORY/<archive>`` works on every kind of repository.

What lies outside of the folder would be downloaded once more for each model, is called experimental and works on S3
only (python_backend pull request 191; ``gcs.h``: "GCS file localization not yet implemented"): there is no layout
``shared`` here. Nor is there an unpacked environment: objects have no modes and no links (server issue 3227:
"Permission denied"). And backends are loaded from the server's own disk.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from envbuilder.archive.names import ARCHIVE
from envbuilder.deployment import lint
from envbuilder.deployment.config import CONFIG
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.runtime_files import is_runtime_file
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.objects import Elsewhere

NOT_AT_ONCE = lint.Finding(
    id="objects-change-one-by-one",
    level="warning",
    message="an object store changes one object at a time: a server that polls may see the model half changed",
    hint="let the server load it when told to: --model-control-mode=explicit",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectDeployment:
    """A model in a repository on an object store, with its environment."""

    model: str
    folder: str
    """The model's address."""
    environment: str
    """The archive's address."""
    environment_path: str
    """``EXECUTION_ENV_PATH`` as the server reads it."""
    release: str
    """The Triton release that the environment is for."""
    uploaded: tuple[str, ...]
    """What was not there or was different, relative to the model's folder; in the order of the uploads."""
    removed: tuple[str, ...]
    """What the model's folder held and the model directory does not."""
    old_archives: tuple[str, ...]
    """Environments in the model's folder that it does not name any more."""
    findings: tuple[lint.Finding, ...]
    """What a server will accept, and its owner should know."""

    @property
    def changed(self) -> bool:
        """Whether anything was not there already."""
        return bool(self.uploaded or self.removed)

    def lines(self) -> list[str]:
        """Say it to a person."""
        lines = [
            f"{self.model}: {self.folder}" + ("" if self.changed else " (nothing to change)"),
            f"environment: {self.environment_path}",
            *(f"uploaded: {path}" for path in self.uploaded),
            *(f"removed: {path}" for path in self.removed),
            *(f"not named by the model any more: {path} (--prune deletes it)" for path in self.old_archives),
        ]
        for finding in self.findings:
            lines.append(f"{finding.level}: {finding.message}")
            lines += [f"  hint: {finding.hint}"] if finding.hint else []
        return lines


def deploy_to_objects(
    archive: Path,
    model: Path,
    repository: str,
    options: DeployOptions = DeployOptions(),
    *,
    timeout: float = 60.0,
    reporter: Reporter = SILENT,
) -> ObjectDeployment:
    """Put the model directory *model*, the environment *archive* and the runtime into the repository at an address.

    The archive goes first and config.pbtxt last: it never names what is not there. What is there already is left.

    Args:
        archive: as ``envbuilder build`` wrote it.
        model: a directory with config.pbtxt and version folders.
        repository: an address that fsspec knows: ``s3://bucket/folder``, ``gs://…``, ``az://…``.
        options: of which ``name`` and ``prune`` count; no other can be served from objects.
        timeout: seconds without an answer.
        reporter: told of progress.

    Raises:
        DeployError: the model directory or the names cannot be used. The repository is as it was.
        IntegrityError: the archive is not what its name says, or an object is not what was uploaded.
        StoreError: the object store does not answer, or refuses.
        RecipeError: fsspec knows no such kind of address, or the library for it is not installed.
    """
    there = Elsewhere(repository, timeout=timeout)
    with tempfile.TemporaryDirectory(prefix="envbuilder-deploy-") as scratch:
        made = deploy(
            archive, model, Path(scratch) / "repository", DeployOptions(name=options.name), reporter=reporter
        )
        environment = made.environment.name
        files = sorted(
            path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()
        )
        files.sort(key=lambda path: (path == CONFIG, path != environment))
        held = there.walk(made.model)
        uploaded = []
        for path in files:
            source, target = made.folder / path, f"{made.model}/{path}"
            size = source.stat().st_size
            if held.get(path) == size and (path == environment or _same(there, target, source)):
                continue
            reporter.step(f"Uploading {path}")
            there.replace(target, source)
            if not _same(there, target, source):
                raise IntegrityError(f"{there.place(target)} is not what was uploaded", hint="deploy again")
            uploaded.append(path)
        gone = sorted(held.keys() - set(files))
        old = [path for path in gone if _is_environment(path)]
        removed = [path for path in gone if options.prune or path not in old]
        for path in removed:
            there.remove(f"{made.model}/{path}")
    assert made.environment_path is not None
    return ObjectDeployment(
        model=made.model,
        folder=there.place(made.model),
        environment=there.place(f"{made.model}/{environment}"),
        environment_path=made.environment_path,
        release=made.release,
        uploaded=tuple(uploaded),
        removed=tuple(path for path in removed if not is_runtime_file(path)),
        old_archives=() if options.prune else tuple(old),
        findings=(*made.findings, NOT_AT_ONCE),
    )


def check_options(repository: str, options: DeployOptions) -> None:
    """Refuse what no object store can serve.

    Raises:
        DeployError: it says why.
    """
    layout = options.layout
    if layout != "model":
        why = (
            "backends are loaded from the server's own disk"
            if layout == "backend"
            else ("a server would download the environment once for each model, and from S3 only")
        )
        raise DeployError(f"no layout {layout} in {repository}: {why}", hint="deploy with the layout model")
    if options.unpacked:
        raise DeployError(
            f"no unpacked environment in {repository}: objects have neither modes nor links",
            hint="deploy the archive as it is: leave out --unpacked",
        )


def _is_environment(path: str) -> bool:
    named = ARCHIVE.fullmatch(path)
    return named is not None and named["suffix"] != "" and "/" not in path


def _same(there: Elsewhere, path: str, source: Path) -> bool:
    """Whether an object has the bytes of a file."""
    digests = (hashlib.sha256(), hashlib.sha256())
    for chunk in there.read(path):
        digests[0].update(chunk)
    with source.open("rb") as file:
        while chunk := file.read(2**20):
            digests[1].update(chunk)
    return digests[0].digest() == digests[1].digest()
