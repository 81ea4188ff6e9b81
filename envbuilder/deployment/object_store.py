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
"Permission denied"). And Triton loads backends from the server's own disk only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envbuilder.deployment import lint
from envbuilder.deployment.config import CONFIG, ENVIRONMENT, ModelConfig, parse_config, same_but_for_serving
from envbuilder.deployment.config import MAX_BYTES as MAX_CONFIG
from envbuilder.deployment.environments import is_environment_name
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.layouts import LAYOUTS
from envbuilder.deployment.mark import MARK
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.record import CAP, SUFFIX, parse_record
from envbuilder.deployment.references import CHOSEN, Reference, chosen_references, reference
from envbuilder.deployment.runtime_files import is_runtime_file
from envbuilder.deployment.takeover import check_files, foreign_environment, named_inside
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.objects import RemoteObjects
from envbuilder.util.printable import shown
from envbuilder.util.tempdirs import temporary_folder

NOT_AT_ONCE = lint.Finding(
    id="objects-change-one-by-one",
    level="warning",
    message="an object store changes one object at a time: a polling server may load a partly changed model",
    hint="use explicit model control: --model-control-mode=explicit",
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
    """Files that were missing or different, relative to the model's folder, in the order of the uploads."""
    removed: tuple[str, ...]
    """Files of the model's folder that the model directory does not have."""
    old_archives: tuple[str, ...]
    """Environments that deployments placed in the model's folder and that no model names any more."""
    findings: tuple[lint.Finding, ...]
    """Warnings about what a server accepts."""
    deleted: tuple[str, ...] = ()
    """The environments that ``prune`` deleted."""
    replaced: str | None = None
    """The ``EXECUTION_ENV_PATH`` that was replaced although no deployment had set it."""
    overwritten: tuple[str, ...] = ()
    """Objects that were overwritten although no deployment had put them there, relative to the model's folder."""
    dry_run: bool = False
    """A dry run: nothing was uploaded or deleted."""

    @property
    def changed(self) -> bool:
        """Whether anything changed."""
        return bool(self.uploaded or self.removed or self.deleted)

    def lines(self) -> list[str]:
        """Return the lines to print."""
        would = "would be " if self.dry_run else ""
        note = "" if self.changed else " (nothing to change)"
        lines = [
            f"{self.model}: {self.folder}" + (" (dry run: nothing is written)" if self.dry_run else note),
            f"environment: {self.environment_path}",
            *([f"{would}replaced: the {ENVIRONMENT} {shown(self.replaced)}"] if self.replaced else []),
            *(f"{would}replaced: {path}" for path in self.overwritten),
            *(f"{would}uploaded: {path}" for path in self.uploaded),
            *(f"{would}removed: {path}" for path in self.removed),
            *(f"{would}deleted: {path}" for path in self.deleted),
            *(f"no longer used by any model: {path} (--prune deletes it)" for path in self.old_archives),
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

    The archive goes first and config.pbtxt last: so it never names missing objects. Objects that exist already are
    kept.

    Args:
        archive: as ``envbuilder build`` wrote it.
        model: a directory with config.pbtxt and version folders.
        repository: an address that fsspec knows: ``s3://bucket/folder``, ``gs://…``, ``az://…``.
        options: only ``name``, ``prune``, ``replace`` and ``dry_run`` apply to an object store.
        timeout: how long to wait for an answer, in seconds.
        reporter: told of progress.

    Raises:
        DeployError: the model directory or the names cannot be used; with *prune*, a configuration of the repository
            cannot be read. The repository is as it was. Or another process deployed the model at the same time.
        IntegrityError: the archive does not match the digest in its name, or an object differs from what was
        uploaded.
        StoreError: the object store does not answer, or refuses.
        RecipeError: fsspec does not support the address, or the library for it is not installed.
    """
    there = RemoteObjects(repository, timeout=timeout)
    with temporary_folder("deploy") as scratch:
        local = scratch / "repository"
        local_options = DeployOptions(name=options.name, replace=options.replace)
        made = deploy(archive, model, local, local_options, reporter=reporter)
        work = _begin(there, made, prune=options.prune, replace=options.replace)
        uploaded = _upload(there, work, dry_run=options.dry_run, reporter=reporter)
    if not options.dry_run:
        for path in work.gone:
            there.remove(f"{made.model}/{path}")
    assert made.environment_path is not None
    return ObjectDeployment(
        model=made.model,
        folder=there.place(made.model),
        environment=there.place(f"{made.model}/{made.environment.name}"),
        environment_path=made.environment_path,
        release=made.release,
        uploaded=tuple(path for path in uploaded if not path.endswith(SUFFIX)),
        removed=work.removed,
        old_archives=() if options.prune else work.unused,
        findings=(*made.findings, *work.findings, NOT_AT_ONCE),
        deleted=work.unused if options.prune else (),
        replaced=made.replaced or work.replaced,
        overwritten=work.overwritten,
        dry_run=options.dry_run,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """A deployment that is checked, but not carried out."""

    made: Deployment
    """The new content of the model's folder, on this machine."""
    files: tuple[str, ...]
    """The uploads: the archive first, config.pbtxt last."""
    held: Mapping[str, int]
    """The existing objects: bytes by path."""
    removed: tuple[str, ...]
    unused: tuple[str, ...]
    gone: tuple[str, ...]
    """Objects that are deleted at the end."""
    replaced: str | None
    overwritten: tuple[str, ...]
    findings: tuple[lint.Finding, ...]


def _begin(there: RemoteObjects, made: Deployment, *, prune: bool, replace: bool) -> _Work:
    environment = made.environment.name
    files = sorted(
        path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()
    )
    files.sort(key=lambda path: (path == CONFIG, path != environment))
    held = there.walk(made.model)
    placed = placed_archives(there, made.model, held)
    config = _config_there(there, made.model) if CONFIG in held else None
    replaced = _replaced(there, made, config, placed)
    if replaced is not None and not replace:
        raise foreign_environment(there.place(f"{made.model}/{CONFIG}"), replaced)
    named = named_inside(config)
    theirs = {path for path in held if path.split("/")[0] == named or is_environment_name(path)} - placed
    old = sorted(placed - {environment})
    records = {f"{name}{SUFFIX}" for name in old}
    removed = sorted(held.keys() - set(files) - {MARK} - theirs - set(old) - records)
    changed = (
        [] if placed else [path for path in files if path in held and not _keeps(there, made, path, config)]
    )
    if not placed and not replace:
        check_files(there.place(made.model), removed, changed)
    unused, findings = _unused(there, made, old, prune=prune)
    gone = [
        *removed,
        *({MARK} & held.keys()),
        *(path for name in unused for path in (name, f"{name}{SUFFIX}") if prune),
    ]
    return _Work(
        made=made,
        files=tuple(files),
        held=held,
        removed=tuple(path for path in removed if not is_runtime_file(path)),
        unused=tuple(unused),
        gone=tuple(gone),
        replaced=replaced,
        overwritten=tuple(changed),
        findings=findings,
    )


def _keeps(there: RemoteObjects, made: Deployment, path: str, config: ModelConfig | None) -> bool:
    """Whether uploading *path* over an object that no deployment put there loses nothing."""
    source, target = made.folder / path, f"{made.model}/{path}"
    if path == CONFIG and config is not None:
        return same_but_for_serving(config, parse_config(source.read_bytes(), source))
    return there.size(target) == source.stat().st_size and _same(there, target, source)


def placed_archives(there: RemoteObjects, model: str, held: Mapping[str, int]) -> set[str]:
    """Names of the archives in a model's folder that deployments placed."""
    found = set()
    for path in held:
        name = path.removesuffix(SUFFIX)
        if name == path or "/" in path or name not in held or held[path] > CAP.size:
            continue
        if parse_record(there.read_small(f"{model}/{path}", CAP.size) or b"", name) is not None:
            found.add(name)
    return found


def _config_there(there: RemoteObjects, model: str, path: str = CONFIG) -> ModelConfig | None:
    """Read a configuration; None: it cannot be read."""
    try:
        return _read_config(there, f"{model}/{path}")
    except DeployError:
        return None


def _read_config(there: RemoteObjects, path: str) -> ModelConfig:
    size = there.size(path)
    if size is not None and size > MAX_CONFIG:
        raise DeployError(
            f"{there.place(path)} is larger than {MAX_CONFIG // 2**20} MiB, the limit for configurations"
        )
    return parse_config(there.read_small(path, MAX_CONFIG) or b"", Path(path), where=there.place(path))


def _replaced(
    there: RemoteObjects, made: Deployment, config: ModelConfig | None, placed: set[str]
) -> str | None:
    """Return the environment that the deployment replaces although no deployment had set it."""
    named = config.environment if config is not None else None
    if not named or named == made.environment_path or named_inside(config) in placed:
        return None
    return named


def _unused(
    there: RemoteObjects, made: Deployment, old: Sequence[str], *, prune: bool
) -> tuple[list[str], tuple[lint.Finding, ...]]:
    """Return which of the environments *old* in the model's folder no model of the repository names."""
    if not old and not prune:
        return [], ()
    try:
        says = list(_references(there, made))
    except DeployError as error:
        if prune:
            raise DeployError(
                error.message,
                hint="the environments it uses cannot be determined, so nothing was deployed or deleted: fix it, or "
                "omit --prune",
            ) from error
        return [], (lint.unknown_use(error.message),)
    return [name for name in old if not any(one.mentions(name) for one in says)], ()


def _references(there: RemoteObjects, made: Deployment) -> Iterator[Reference]:
    """Yield the references to environments in the model's folder: the model's own, and those of other models."""
    yield reference(parse_config((made.folder / CONFIG).read_bytes(), made.folder / CONFIG))
    yield from chosen_references(made.folder)
    for model in there.folders() or ():
        paths = [CONFIG] if CONFIG in there.names(model) else []
        paths += [f"{CHOSEN}/{name}" for name in there.names(f"{model}/{CHOSEN}") if name.endswith(".pbtxt")]
        for path in paths:
            said = (
                reference(_read_config(there, f"{model}/{path}"))
                if (model, path) != (made.model, CONFIG)
                else None
            )
            if said is not None and (model == made.model or not said.is_relative):
                yield said


def _upload(there: RemoteObjects, work: _Work, *, dry_run: bool, reporter: Reporter) -> list[str]:
    """Upload what is missing, and check at the end that all of it is there: another process may deploy, too.

    Raises:
        DeployError: another process did.
    """
    made, uploaded = work.made, []
    versions: dict[str, str | None] = {}
    for path in work.files:
        source, target = made.folder / path, f"{made.model}/{path}"
        versions[target] = there.version(target)
        if work.held.get(path) == source.stat().st_size and (
            path == made.environment.name or _same(there, target, source)
        ):
            continue
        uploaded.append(path)
        if dry_run:
            continue
        reporter.step(f"Uploading {path}")
        there.replace(target, source)
        versions[target] = there.version(target)
        if not _same(there, target, source):
            raise IntegrityError(f"{there.place(target)} differs from what was uploaded", hint="deploy again")
    changed = next((target for target in versions if versions[target] != there.version(target)), None)
    if changed is not None:
        raise DeployError(
            f"{there.place(changed)} was changed by another process during the deployment",
            hint="deploy again when no other deployment runs: until then, the model may be a mix of both",
        )
    return uploaded


def check_options(repository: str, options: DeployOptions) -> None:
    """Refuse options that no object store supports.

    Raises:
        DeployError: an option is not supported.
        RecipeError: there is no such layout.
    """
    layout = options.layout
    LAYOUTS.get(layout)
    if layout != "model":
        why = (
            "Triton loads backends from the server's own disk only"
            if layout == "backend"
            else ("a server would download the environment for each model, and from S3 only")
        )
        raise DeployError(f"no layout {layout} in {repository}: {why}", hint="deploy with the layout model")
    if options.unpacked:
        raise DeployError(
            f"no unpacked environment in {repository}: objects have neither modes nor links",
            hint="deploy the archive itself: omit --unpacked",
        )


def _same(there: RemoteObjects, path: str, source: Path) -> bool:
    """Whether an object has the bytes of a file."""
    digests = (hashlib.sha256(), hashlib.sha256())
    for chunk in there.read(path):
        digests[0].update(chunk)
    with source.open("rb") as file:
        while chunk := file.read(2**20):
            digests[1].update(chunk)
    return digests[0].digest() == digests[1].digest()
