"""The built-in layouts, see :class:`envbuilder.deployment.layouts.Layout`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import PYTRITON
from envbuilder.deployment import lint
from envbuilder.deployment.config import MODEL_DIRECTORY, PYTHON_BASED, Serving
from envbuilder.deployment.environments import DEFAULT_ENVIRONMENT
from envbuilder.deployment.model_directory import absolute
from envbuilder.deployment.options import ENVIRONMENTS, DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.placement import delete_environment, is_ours, kept_entries
from envbuilder.deployment.record import placed_environments, record_beside
from envbuilder.deployment.runtime_files import PYCACHE, is_runtime
from envbuilder.deployment.transaction import (
    Job,
    Work,
    begin,
    finish,
    marked,
    put_environment,
    runtime_entries,
)
from envbuilder.deployment.tree import Entry, Link, Text, Tree, is_in_place, paths, replace_folder
from envbuilder.errors import DeployError
from envbuilder.progress import Reporter

FIRST_WITH_BACKENDS = "24.01"
"""The first release whose core supports ``runtime`` and a backend's default environment."""


class ModelLayout:
    """The environment lies in the model's folder; unpacked ones share their files with a pool."""

    holds = "the folder of shared files"

    def folder(self, repository: Path, options: DeployOptions, manifest: Manifest) -> Path | None:
        """Return the pool if the environment is unpacked."""
        return absolute(options.pool or repository.parent / ENVIRONMENTS) if options.unpacked else None

    def deploy(self, job: Job, folder: Path | None, reporter: Reporter) -> Deployment:
        """Put model and environment into the model's folder at once."""
        name = job.environment_name
        if job.environment.unpacked and not name[0].isalpha():
            name = f"env-{name}"  # a folder whose name starts with a digit is read as a version
        path, target = f"{MODEL_DIRECTORY}/{name}", job.target / name
        pooled = None if folder is None else folder / job.environment_name
        environment: dict[str, Entry] = {name: job.environment if pooled is None else Tree(path=pooled)}
        if is_ours(target, job.environment, job.manifest):
            environment[record_beside(target).name] = Text(data=job.record(name).text())
        environment |= marked(target)
        folders = [] if folder is None else [folder]
        work = begin(job, job.python_serving(path), environment, folders=folders, reporter=reporter)
        if pooled is None:
            return finish(work, environment=target, path=path, reporter=reporter)
        added = not target.is_dir() and put_environment(job, pooled, reporter)
        try:
            done = finish(work, environment=target, path=path, reporter=reporter)
        except BaseException:
            if added and not job.options.dry_run:
                delete_environment(pooled, reporter)
            raise
        return replace(done, findings=(*done.findings, lint.POLLED_ENVIRONMENT))


class SharedLayout:
    """The environment lies in one folder for many models."""

    holds = "the shared folder"

    def folder(self, repository: Path, options: DeployOptions, manifest: Manifest) -> Path | None:
        """Return the folder of environments."""
        return absolute(options.shared or repository.parent / ENVIRONMENTS)

    def deploy(self, job: Job, folder: Path | None, reporter: Reporter) -> Deployment:
        """Put the environment there, then the model."""
        assert folder is not None
        seen_as = job.options.shared_as or folder.as_posix()
        path = f"{seen_as.rstrip('/')}/{job.environment_name}"
        lint.check_environment_path(path)
        environment = folder / job.environment_name
        work = begin(job, job.python_serving(path), marked(environment), folders=[folder], reporter=reporter)
        return finish(
            work,
            environment=environment,
            path=path,
            place=lambda: put_environment(job, environment, reporter),
            reporter=reporter,
        )


class BackendLayout:
    """The environment, and the runtime, lie in a Python-based backend, as its default."""

    holds = "the folder of backends"

    def folder(self, repository: Path, options: DeployOptions, manifest: Manifest) -> Path | None:
        """Return the folder of backends."""
        lint.check_backend_name(_backend_name(options, manifest))
        return absolute(options.backends or repository.parent / "backends")

    def deploy(self, job: Job, folder: Path | None, reporter: Reporter) -> Deployment:
        """Put the backend there, then the model."""
        assert folder is not None
        folder = folder / _backend_name(job.options, job.manifest)
        if job.plain:
            raise DeployError(
                f"{job.model} has its own TritonPythonModel, but a backend has one for all of its models",
                hint="deploy it with the layout model or shared",
            )
        release = "24.10" if job.manifest.release == PYTRITON else job.manifest.release
        if release < FIRST_WITH_BACKENDS:
            raise DeployError(
                f"Triton {release} has no default environment for python-based backends: "
                f"{FIRST_WITH_BACKENDS} is the first",
                hint="deploy with the layout model or shared",
            )
        serving = Serving(
            name=job.new_name,
            backend=folder.name,
            runtime=PYTHON_BASED,
            model_file="model.py",
            environment=None,
        )
        environment = folder / job.environment_name
        links = [folder / DEFAULT_ENVIRONMENT]
        work = begin(job, serving, marked(environment), folders=[folder], links=links, reporter=reporter)
        contents = _backend_contents(work, folder)

        def place() -> bool:
            changed = not is_in_place(folder, contents)
            if changed and not job.options.dry_run:
                replace_folder(folder, contents, reporter)
            return changed

        done = finish(work, environment=environment, path=None, place=place, reporter=reporter)
        return replace(done, backend_folder=folder)


def _backend_name(options: DeployOptions, manifest: Manifest) -> str:
    return options.backend or f"torch-{manifest.recipe}"


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
        # extracts the new one beside it, and leaves alone the one that models are running in.
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
            f"{folder} contains a different backend: {foreign[0]}", hint="choose another name for this one"
        )
    if is_ours(folder / job.environment_name, job.environment, job.manifest):
        users = {user for record in placed.values() for user in record.repositories}
        record = job.record(job.environment_name, *users, os.path.realpath(job.repository))
        contents[record_beside(folder / job.environment_name).name] = Text(data=record.text())
    for path, record in work.unused.released.items():
        if path.parent == folder and path.name in kept:
            kept[record_beside(path).name] = Text(data=record.text())
    return {**kept, **contents}
