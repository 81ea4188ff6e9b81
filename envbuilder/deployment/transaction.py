"""A deployment in two steps: decide and check everything, then replace the model's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envbuilder.archive.manifest import Manifest
from envbuilder.archive.names import ReadArchive
from envbuilder.deployment import lint
from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.config import (
    CONFIG,
    RUNTIME_FILE,
    ModelConfig,
    Serving,
    edit_config,
    migrated_from,
    parse_config,
)
from envbuilder.deployment.mark import DEPLOYED, MARK
from envbuilder.deployment.model_directory import brings_runtime, model_files, read_model, real, skipped_files
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.placement import delete_environment, is_ours, kept_entries, place_environment
from envbuilder.deployment.prune import Outlook, Unused, find_unused
from envbuilder.deployment.record import SUFFIX, Record, placed_environments, read_record, record_beside
from envbuilder.deployment.references import chosen_references, reference
from envbuilder.deployment.runtime_files import PYCACHE, is_runtime_file, runtime_files
from envbuilder.deployment.takeover import (
    Present,
    check_environment,
    check_files,
    check_is_folder,
    look_at,
    overwritten,
)
from envbuilder.deployment.tree import (
    Copy,
    Entry,
    Environment,
    Keep,
    Text,
    drafted,
    is_in_place,
    paths,
    put,
)
from envbuilder.deployment.versions import version_folders
from envbuilder.errors import DeployError
from envbuilder.progress import Reporter


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One deployment, decided on but not carried out."""

    name: str
    model: Path
    target: Path
    """The model's folder in the repository."""
    config: ModelConfig
    manifest: Manifest
    environment: Environment
    environment_name: str
    plain: bool
    """The model brings a ``TritonPythonModel`` of its own."""
    present: Present
    """The present state of *target*."""
    environments: tuple[Path, ...]
    """Folders in which deployments put environments for many models."""
    options: DeployOptions
    compiled: tuple[Compiled, ...] = ()

    @property
    def repository(self) -> Path:
        """The repository."""
        return self.target.parent

    @property
    def in_place(self) -> bool:
        """Whether the model directory is the model's folder in the repository, which is then deployed in place."""
        return real(self.options.original or self.model) == real(self.target)

    @property
    def new_name(self) -> str | None:
        """The name to write, if config.pbtxt has a different one."""
        return self.name if self.config.message.name not in ("", self.name) else None

    def python_serving(self, environment: str) -> Serving:
        """Return the settings of config.pbtxt for a model of Triton's own Python backend in *environment*."""
        return Serving(
            name=self.new_name,
            backend="python",
            runtime=None,
            model_file=None if self.plain else RUNTIME_FILE,
            environment=environment,
        )

    def record(self, name: str, *users: str) -> Record:
        """Return the record of the environment under the name *name*; *users* are repositories."""
        return Record(
            environment=name,
            sha256=self.environment.sha256,
            recipe=self.manifest.recipe,
            release=self.manifest.release,
        ).used_by(users)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A deployment that is checked, but not carried out."""

    job: Job
    plan: Mapping[str, Entry]
    """The new content of the model's folder."""
    removed: tuple[str, ...]
    """Files that it has now and will not have."""
    overwritten: tuple[str, ...]
    """Files that change although no deployment put them there."""
    unused: Unused
    replaced: str | None
    findings: tuple[lint.Finding, ...]

    @property
    def deleted(self) -> tuple[Path, ...]:
        """The environments that are deleted at the end."""
        return self.unused.environments if self.job.options.prune else ()


def prepare(
    read: ReadArchive,
    model: Path,
    repository: Path,
    options: DeployOptions,
    *,
    environments: tuple[Path, ...],
    backends: Path,
) -> Job:
    """Read everything, and write nothing. The folders are locked against other deployments."""
    config, called = read_model(model, repository, options.name)
    suffix = "" if options.unpacked else ".tar" if read.plain else ".tar.gz"
    return Job(
        name=called,
        model=model,
        target=repository / called,
        config=config,
        manifest=read.manifest,
        environment=Environment(archive=read.path, sha256=read.sha256, unpacked=options.unpacked),
        environment_name=f"{read.manifest.recipe}-{read.sha256[:12]}{suffix}",
        plain=brings_runtime(model, config),
        present=look_at(repository / called, environments, backends),
        environments=environments,
        options=options,
    )


# -- before anything is written ----------------------------------------------------------------------------------


def begin(
    job: Job,
    serving: Serving,
    environment: Mapping[str, Entry],
    *,
    folders: Sequence[Path] = (),
    links: Collection[Path] = (),
    reporter: Reporter,
) -> Work:
    """Decide what the deployment does, and check that it may.

    Args:
        job: the deployment.
        serving: the settings of config.pbtxt.
        environment: what is put into the model's folder beside the model.
        folders: further folders with environments.
        links: symbolic links that the deployment recreates.
        reporter: is told about changes that the user did not ask for.

    Raises:
        DeployError: it is refused, or what it would delete cannot be determined.
    """
    check_is_folder(job.target)
    plan = {**_model_entries(job, serving, reporter), **environment}
    replaced = _replaced(job, serving)
    findings: list[lint.Finding] = []
    unused = Unused()
    try:
        unused = _find_unused(job, plan, (job.target, *folders), links)
    except DeployError as error:
        if job.options.prune:
            raise DeployError(
                error.message,
                hint="the environments it uses cannot be determined, so nothing was deployed or deleted: fix it, or "
                "omit --prune",
            ) from error
        findings.append(lint.unknown_use(error.message))
    deleted = unused.environments if job.options.prune else ()
    plan |= kept_entries(job.target, plan, deleted, job.present.named)
    if job.in_place:
        plan |= skipped_entries(job.target, plan)
    gone = {path.name for path in deleted if path.parent == job.target}
    removed = sorted(
        path
        for path in paths(job.target, plan)
        if path not in plan
        and path.split("/")[0] not in gone
        and not path.endswith(SUFFIX)
        and not is_runtime_file(path)
        and PYCACHE not in path.split("/")
    )
    changed = [] if job.in_place or job.present.deployed else _overwritten(job, plan)
    if not job.present.deployed and not job.options.replace:
        check_files(str(job.target), [path for path in removed if not job.present.made(path)], changed)
    return Work(
        job=job,
        plan=plan,
        removed=tuple(removed),
        overwritten=tuple(changed),
        unused=unused,
        replaced=replaced,
        findings=(
            *lint.find_problems(job.model, job.config, job.manifest, plain=job.plain),
            *findings,
        ),
    )


def _replaced(job: Job, serving: Serving) -> str | None:
    """Return the environment that the deployment replaces although no deployment had set it."""
    found = [
        check_environment(
            config,
            serving.environment,
            models=(job.model, job.target),
            environments=job.environments,
            replace=job.options.replace,
        )
        for config in (job.config, job.present.config)
        if config is not None
    ]
    return next((value for value in found if value is not None), None)


def _find_unused(
    job: Job, plan: Mapping[str, Entry], folders: Sequence[Path], links: Collection[Path]
) -> Unused:
    spare = [
        folder / name for folder in folders for name in (job.environment_name, f"env-{job.environment_name}")
    ]
    placed = [path for folder in folders for path in placed_environments(folder)]
    if not job.options.prune and not set(placed) - set(spare):
        return Unused()  # there is nothing to prune, so no configurations are read
    says = [reference(_planned_config(job, plan)), *chosen_references(job.model)]
    outlook = Outlook(repository=job.repository, model=job.target, says=says)
    return find_unused(
        folders, outlook, archive=job.environment.archive, spare=spare, links=links, hashed=job.options.prune
    )


def _planned_config(job: Job, plan: Mapping[str, Entry]) -> ModelConfig:
    config = plan[CONFIG]
    assert isinstance(config, Text)
    return parse_config(config.data, job.target / CONFIG)


def _overwritten(job: Job, plan: Mapping[str, Entry]) -> list[str]:
    return sorted(overwritten(job.present, plan, _planned_config(job, plan)))


def _model_entries(job: Job, serving: Serving, reporter: Reporter) -> dict[str, Entry]:
    """The new content of the model's folder, without the environment."""
    findings = list(lint.find_problems(job.model, job.config, job.manifest, plain=job.plain))
    if errors := [finding for finding in findings if finding.level == "error"]:
        raise DeployError("\n".join(finding.message for finding in errors), hint=errors[0].hint)
    if old := migrated_from(job.config):
        reporter.note(f"{old} migrated to the Python backend: served by the runtime")
    plan: dict[str, Entry] = {
        path: Copy(path=job.model / path)
        for path in model_files(job.model)
        if job.plain or not is_runtime_file(path)
    }
    for compiled in job.compiled:
        if compiled.file is not None:
            plan[f"{compiled.version}/{compiled.file.name}"] = Copy(path=compiled.file)
    plan[CONFIG] = Text(data=edit_config(job.config, serving).encode())
    if serving.model_file == RUNTIME_FILE:
        for version in version_folders(job.model):
            plan |= runtime_entries(RUNTIME_FILE, f"{version.name}/")
    return plan


def runtime_entries(name: str, folder: str = "") -> dict[str, Entry]:
    """Return the runtime's files, where Triton loads the file *name* in *folder* (``1/``)."""
    return {f"{folder}{path}": Text(data=file.read_bytes()) for path, file in runtime_files(name).items()}


# -- writing -----------------------------------------------------------------------------------------------------


def skipped_entries(model: Path, plan: Mapping[str, Entry]) -> dict[str, Entry]:
    """List what a folder that is replaced by its own files keeps: the user's files that are never deployed."""
    return {path: Keep() for path in skipped_files(model, plan)}


def marked(environment: Path) -> dict[str, Entry]:
    """The mark that a deployment made the model, where no record beside *environment* shows that."""
    theirs = os.path.lexists(environment) and read_record(environment) is None
    return {MARK: Text(data=DEPLOYED.text())} if theirs else {}


def put_environment(job: Job, place: Path, reporter: Reporter) -> bool:
    """Put the environment into a folder for many models; return whether it is new.

    Raises:
        DeployError: it cannot be written, or its name is taken.
        IntegrityError: the archive is another one by now.
    """
    record = None
    if is_ours(place, job.environment, job.manifest):
        before = read_record(place)
        users = before.repositories if before is not None else ()
        record = job.record(place.name, *users, os.path.realpath(job.repository))
    if job.options.dry_run:
        return not os.path.lexists(place)
    return place_environment(place, job.environment, record, reporter)


def finish(
    work: Work,
    *,
    environment: Path,
    path: str | None,
    place: Callable[[], bool] = lambda: False,
    reporter: Reporter,
) -> Deployment:
    """Put the environment (*place*, which returns whether it is new) and the model's folder in their places.

    All that may fail is done first: neither is there without the other. Then what is unused is deleted.

    Raises:
        DeployError: something cannot be read or written. The repository is as it was.
        IntegrityError: the archive is another one by now.
    """
    job, options, unused = work.job, work.job.options, work.unused
    changed = not is_in_place(job.target, work.plan)
    if changed and not options.dry_run:
        with drafted(job.target, work.plan, reporter) as swap:
            added = place()
            swap()
    else:
        added = place()
    if not options.dry_run:
        _tidy(work, reporter)
    return Deployment(
        model=job.name,
        folder=job.target,
        layout=options.layout,
        environment=environment,
        environment_path=path,
        release=job.manifest.release,
        backend_folder=None,
        changed=changed or added,
        removed=work.removed,
        overwritten=work.overwritten,
        old_archives=() if options.prune else unused.environments,
        findings=work.findings,
        compiled=tuple(
            replace(one, file=one.file and job.target / one.version / one.file.name) for one in job.compiled
        ),
        deleted=work.deleted,
        kept=unused.kept if options.prune else (),
        replaced=work.replaced,
        dry_run=options.dry_run,
    )


def _tidy(work: Work, reporter: Reporter) -> None:
    """Delete environments that no model names, if requested, and update the records of those no longer used here."""
    for path in work.deleted:
        if os.path.lexists(path):  # those in the model's or the backend's folder are gone with it
            delete_environment(path, reporter)
    for path, record in work.unused.released.items():
        if read_record(path) not in (None, record):
            put(record_beside(path), Text(data=record.text()), reporter)
