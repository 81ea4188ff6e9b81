"""What ``envbuilder apply`` would do: a row for each model, decided before anything is built or written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from envbuilder.aot.deploy import look_at_compiled
from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.config import read_config
from envbuilder.deployment.copies import Copied, copy_model, copy_to_objects
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.object_store import check_options, deploy_to_objects
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError, EnvbuilderError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.built import find_built
from envbuilder.fleet.repository.survey import Model
from envbuilder.lockfile.check import check_lock
from envbuilder.store.session import Session

State = Literal["current", "change", "untouched", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where models go."""

    repository: Path
    """Where they come from."""
    output: str | None = None
    """A folder or an address; None: in place."""
    replace: bool = False
    """Whether what neither `deploy` nor `apply` put there may go."""

    @property
    def is_remote(self) -> bool:
        """Whether it is an object store."""
        return self.output is not None and "://" in self.output and not self.output.startswith("file://")

    @property
    def folder(self) -> Path:
        """The folder, where it is one."""
        return self.repository if self.output is None else Path(self.output.removeprefix("file://"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is to become of one model."""

    model: Model
    state: State
    now: str
    """The environment that it has."""
    then: str
    """The environment that it gets."""
    why: str
    job: Job | None = None
    archive: Path | None = None
    """The archive, where it is built already."""
    error: EnvbuilderError | None = None

    @property
    def options(self) -> DeployOptions:
        """How it is deployed."""
        return DeployOptions(layout=self.model.choice.layout)

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return it as a row of a table."""
        return self.model.name, self.state, self.now or "-", self.then or "-", self.why


def plan_models(models: list[Model], target: Target, session: Session, output: Path) -> list[Row]:
    """Decide what is to become of each of *models*; archives lie in *output*. Nothing is written."""
    jobs: dict[Path, Job | EnvbuilderError] = {}
    archives: dict[Path, Path | None] = {}
    for model in models:
        recipe = model.recipe
        if recipe is None or recipe.path in jobs:
            continue
        try:
            there = with_files_beside(recipe, session.at(recipe.path.parent))
            job = Job(recipe=recipe, lock=check_lock(recipe), settings=there.settings)
            jobs[recipe.path] = job
            archives[recipe.path] = find_built(job, session, output)
        except EnvbuilderError as error:
            jobs[recipe.path] = error
    return [_row(model, target, session, jobs, archives) for model in models]


def _row(
    model: Model,
    target: Target,
    session: Session,
    jobs: Mapping[Path, Job | EnvbuilderError],
    archives: Mapping[Path, Path | None],
) -> Row:
    now = model.environment if target.output is None else _environment_there(model, target)
    row = Row(model=model, state="untouched", now=now, then=now, why=model.left or "")
    if model.error is not None:
        return refused(row, model.error)
    if model.recipe is None:
        return row if target.output is None else _copy_row(row, target, session)
    job = jobs[model.recipe.path]
    if isinstance(job, EnvbuilderError):
        return refused(row, job)
    archive = archives[model.recipe.path]
    row = replace(row, job=job, archive=archive, then=f"{job.recipe.name} (to be built)", state="change")
    if archive is None:
        why = "its lock has another environment" if now else "has no environment yet"
        return replace(row, why=f"{why}: recipe {job.recipe.name}")
    row = replace(row, then=archive.name)
    try:
        reason = _why_deploy(row, target, session)
    except EnvbuilderError as error:
        return refused(row, error)
    if reason is None:
        return replace(row, state="current", why="nothing to do")
    return replace(row, why=reason)


def check_precompile(row: Row, target: Target) -> None:
    """Refuse to compile for an object store.

    Raises:
        DeployError: it is asked for.
    """
    if target.is_remote and row.model.choice.precompile:
        raise DeployError(
            f"{target.output}: what is compiled is put into a folder",
            hint="apply with a folder as --output, and copy it; or set `precompile = false` in [models]",
        )


def _copy_row(row: Row, target: Target, session: Session) -> Row:
    try:
        copied = copy(row.model, target, session, dry_run=True)
    except EnvbuilderError as error:
        return refused(row, error)
    return replace(row, state="change", why=why_copied(row.model, copied)) if copied.changed else row


def copy(model: Model, target: Target, session: Session, *, dry_run: bool = False) -> Copied:
    """Put a model that is left as it is into another repository, too.

    Raises:
        DeployError, IntegrityError, StoreError: see :mod:`envbuilder.deployment.copies`.
    """
    if target.is_remote:
        assert target.output is not None
        timeout = session.settings.timeout
        return copy_to_objects(
            model.folder, target.output, timeout=timeout, replace=target.replace, dry_run=dry_run
        )
    return copy_model(
        model.folder, target.folder, replace=target.replace, dry_run=dry_run, reporter=session.reporter
    )


def why_copied(model: Model, copied: Copied) -> str:
    """Say why a model has no environment, and what a copy of it changed."""
    return f"{model.left}; {copied.text()}" if copied.changed else model.left or ""


def _why_deploy(row: Row, target: Target, session: Session) -> str | None:
    """Say why deploying would change something; None: it would not.

    Raises:
        DeployError: it may not be deployed.
    """
    assert row.archive is not None
    archive, model = row.archive, row.model
    check_precompile(row, target)
    options = replace(row.options, dry_run=True, replace=target.replace)
    if target.is_remote:
        assert target.output is not None
        check_options(target.output, options)
        timeout = session.settings.timeout
        made = deploy_to_objects(archive, model.folder, target.output, options, timeout=timeout)
        return _why(row.now, archive) if made.changed else None
    compiled: tuple[Compiled, ...] = ()
    pending = False
    if model.choice.precompile:
        compiled, pending = look_at_compiled(archive, model.folder, target.folder, session)
    if deploy(archive, model.folder, target.folder, options, compiled=compiled).changed:
        return _why(row.now, archive)
    return "is to be compiled ahead of time" if pending else None


def refused(row: Row, error: EnvbuilderError) -> Row:
    """Return *row* as one with which nothing can be done."""
    why = " ".join(error.message.split())
    return replace(row, state="refused", error=error, why=f"{why} ({error.hint})" if error.hint else why)


def _why(now: str, archive: Path) -> str:
    if not now:
        return "has no environment yet"
    return "the model or its runtime changed" if now == archive.name else "its lock has another environment"


def _environment_there(model: Model, target: Target) -> str:
    if target.is_remote:
        return ""
    try:
        config = read_config(target.folder / model.name)
    except EnvbuilderError:
        return ""
    return replace(model, config=config).environment
