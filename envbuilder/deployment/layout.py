"""From a model directory and an archive to a model repository."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from envbuilder.archive.names import open_archive
from envbuilder.catalog.triton import PYTRITON
from envbuilder.deployment import lint
from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.config import (
    MODEL_DIRECTORY,
    PYTHON_BASED,
    RUNTIME_FILE,
    Serving,
)
from envbuilder.deployment.environments import DEFAULT_ENVIRONMENT
from envbuilder.deployment.locking import locked, locked_all
from envbuilder.deployment.model_directory import absolute, model_files, os_errors_told, read_model, real
from envbuilder.deployment.options import DeployOptions, Layout
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.placement import delete_environment, is_ours
from envbuilder.deployment.record import (
    placed_environments,
    record_beside,
    remove_orphans,
)
from envbuilder.deployment.runtime_files import PYCACHE, is_runtime
from envbuilder.deployment.tree import (
    Copy,
    Entry,
    Link,
    Text,
    Tree,
    is_in_place,
    paths,
    replace_folder,
)
from envbuilder.deployment.work import (
    Job,
    Work,
    begin,
    finish,
    kept_entries,
    prepare,
    put_environment,
    runtime_entries,
)
from envbuilder.errors import DeployError
from envbuilder.progress import SILENT, Reporter

FIRST_WITH_BACKENDS = "24.01"
"""The first release whose core knows ``runtime`` and a backend's default environment."""
ENVIRONMENTS = "environments"
"""The folder beside a repository that holds environments for many models, where no other is named. Never ``envs``:
there ``build`` puts archives."""
_FOLDERS: dict[Layout, str] = {
    "model": "the folder of shared files",
    "shared": "the shared folder",
    "backend": "the folder of backends",
}


def deploy(
    archive: Path,
    model: Path,
    repository: Path,
    options: DeployOptions = DeployOptions(),
    *,
    compiled: Sequence[Compiled] = (),
    reporter: Reporter = SILENT,
) -> Deployment:
    """Put the model directory *model*, the environment *archive* and the runtime into *repository*.

    Args:
        archive: as ``envbuilder build`` wrote it.
        model: a directory with config.pbtxt and version folders; it may already lie in the repository.
        repository: what the server is given as ``--model-repository``.
        options: where the environment goes, and what is called how.
        compiled: what was compiled of the model ahead of time, see :func:`envbuilder.aot.precompile.precompile`.
        reporter: told of progress.

    Raises:
        DeployError: the model directory, the names or the folders cannot be used; or, where it is to prune, a
            configuration of a repository cannot be read. The repository is as it was.
        IntegrityError: the archive is not what its name says, or is changed at this moment.
    """
    repository, model = absolute(repository), absolute(model)
    with os_errors_told(model):
        read_model(model, repository, options.name)
    read = open_archive(archive)
    default = repository.parent / ENVIRONMENTS
    shared, pool = absolute(options.shared or default), absolute(options.pool or default)
    backends = absolute(options.backends or repository.parent / "backends")
    folder = {"model": pool if options.unpacked else None, "shared": shared, "backend": backends}[
        options.layout
    ]
    if folder is not None:
        _check_outside(folder, repository, _FOLDERS[options.layout])
    called = options.backend or f"torch-{read.manifest.recipe}"
    if options.layout == "backend":
        lint.check_backend_name(called)
    write = fcntl.LOCK_SH if options.dry_run else fcntl.LOCK_EX
    held = {model.parent: fcntl.LOCK_SH, repository: write, **({folder: write} if folder else {})}
    with locked_all(held, reporter), os_errors_told(model):
        environments = tuple(dict.fromkeys((shared, pool, default)))
        job = prepare(read, model, repository, options, environments=environments, backends=backends)
        job = replace(job, compiled=tuple(compiled))
        if folder is not None and not options.dry_run:
            remove_orphans(folder)
        if options.layout == "model":
            return _deploy_model(job, folder, reporter)
        if options.layout == "shared":
            return _deploy_shared(job, shared, options.shared_as or shared.as_posix(), reporter)
        return _deploy_backend(job, backends / called, reporter)


# -- layouts -----------------------------------------------------------------------------------------------------


def _deploy_model(job: Job, pool: Path | None, reporter: Reporter) -> Deployment:
    name = job.environment_name
    if job.environment.unpacked and not name[0].isalpha():
        name = f"env-{name}"  # a folder whose name starts with a digit is read as a version
    path, target = f"{MODEL_DIRECTORY}/{name}", job.target / name
    pooled = None if pool is None else pool / job.environment_name
    environment: dict[str, Entry] = {name: job.environment if pooled is None else Tree(path=pooled)}
    if is_ours(target, job.environment, job.manifest):
        environment[record_beside(target).name] = Text(data=job.record(name).text())
    folders = [] if pool is None else [pool]
    work = begin(job, _python_serving(job, path), environment, folders=folders, reporter=reporter)
    if pooled is None:
        return finish(work, "model", environment=target, path=path, reporter=reporter)
    added = not target.is_dir() and put_environment(job, pooled, reporter)
    try:
        done = finish(work, "model", environment=target, path=path, reporter=reporter)
    except BaseException:
        if added and not job.options.dry_run:
            delete_environment(pooled, reporter)
        raise
    return replace(done, findings=(*done.findings, lint.POLLED_ENVIRONMENT))


def add_compiled(model: Path, compiled: Sequence[Compiled], reporter: Reporter = SILENT) -> bool:
    """Put what was compiled ahead of time into the folder *model* of a repository, at once, and nothing else.

    Returns: whether that changed anything.

    Raises:
        DeployError: it cannot be written.
    """
    model = absolute(model)
    with locked(model.parent, reporter):
        plan: dict[str, Entry] = {path: Copy(path=model / path) for path in model_files(model)}
        plan |= kept_entries(model, plan, ())
        for one in compiled:
            if one.file is not None:
                plan[f"{one.version}/{one.file.name}"] = Copy(path=one.file)
        if is_in_place(model, plan):
            return False
        replace_folder(model, plan, reporter)
    return True


def _deploy_shared(job: Job, folder: Path, seen_as: str, reporter: Reporter) -> Deployment:
    path = f"{seen_as.rstrip('/')}/{job.environment_name}"
    lint.check_environment_path(path)
    environment = folder / job.environment_name
    work = begin(job, _python_serving(job, path), {}, folders=[folder], reporter=reporter)
    return finish(
        work,
        "shared",
        environment=environment,
        path=path,
        place=lambda: put_environment(job, environment, reporter),
        reporter=reporter,
    )


def _deploy_backend(job: Job, folder: Path, reporter: Reporter) -> Deployment:
    if job.plain:
        raise DeployError(
            f"{job.model} brings a TritonPythonModel of its own, and a backend has one for all its models",
            hint="deploy it with the layout model or shared",
        )
    release = "24.10" if job.manifest.release == PYTRITON else job.manifest.release
    if release < FIRST_WITH_BACKENDS:
        raise DeployError(
            f"Triton {release} knows no default environment of a python-based backend: "
            f"{FIRST_WITH_BACKENDS} is the first",
            hint="deploy with the layout model or shared",
        )
    serving = Serving(
        name=_new_name(job),
        backend=folder.name,
        runtime=PYTHON_BASED,
        model_file="model.py",
        environment=None,
    )
    environment = folder / job.environment_name
    links = [folder / DEFAULT_ENVIRONMENT]
    work = begin(job, serving, {}, folders=[folder], links=links, reporter=reporter)
    contents = _backend_contents(work, folder)

    def place() -> bool:
        changed = not is_in_place(folder, contents)
        if changed and not job.options.dry_run:
            replace_folder(folder, contents, reporter)
        return changed

    done = finish(work, "backend", environment=environment, path=None, place=place, reporter=reporter)
    return replace(done, backend_folder=folder)


def _backend_contents(work: Work, folder: Path) -> dict[str, Entry]:
    """What the backend's folder will hold.

    Raises:
        DeployError: it is another backend's.
    """
    job = work.job
    contents: dict[str, Entry] = {
        **runtime_entries(PYTHON_BASED),
        job.environment_name: job.environment,
        # The server knows an extracted environment by its canonical path: with another archive behind this link it
        # extracts that one beside, and leaves alone the one in which models are running.
        DEFAULT_ENVIRONMENT: Link(target=job.environment_name),
    }
    placed = placed_environments(folder)
    kept = kept_entries(folder, contents, work.deleted)
    made = {name for path in placed for name in (path.name, record_beside(path).name)}
    ours = bool(placed) or is_runtime(folder / PYTHON_BASED)
    names = {path.split("/")[0] for path in contents} | {PYCACHE} if ours else {job.environment_name}
    known = {*kept, *made, *names}
    foreign = [path for path in paths(folder, {**contents, **kept}) if path.split("/")[0] not in known]
    if foreign:
        raise DeployError(
            f"{folder} holds another backend: {foreign[0]}", hint="give this one a name of its own"
        )
    if is_ours(folder / job.environment_name, job.environment, job.manifest):
        users = {user for record in placed.values() for user in record.repositories}
        record = job.record(job.environment_name, *users, os.path.realpath(job.repository))
        contents[record_beside(folder / job.environment_name).name] = Text(data=record.text())
    for path, record in work.unused.released.items():
        if path.parent == folder and path.name in kept:
            kept[record_beside(path).name] = Text(data=record.text())
    return {**kept, **contents}


def _python_serving(job: Job, environment: str) -> Serving:
    return Serving(
        name=_new_name(job),
        backend="python",
        runtime=None,
        model_file=None if job.plain else RUNTIME_FILE,
        environment=environment,
    )


def _new_name(job: Job) -> str | None:
    """The name to write: only where config.pbtxt has another one."""
    return job.name if job.config.message.name not in ("", job.name) else None


def _check_outside(folder: Path, repository: Path, what: str) -> None:
    if real(folder).is_relative_to(real(repository)):
        raise DeployError(
            f"{what} {folder} lies in the repository {repository}: Triton would take it for a model",
            hint="put it beside the repository",
        )
