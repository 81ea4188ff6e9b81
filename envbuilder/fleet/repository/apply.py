"""``envbuilder apply``: bring a repository up to date with its recipes, model by model.

Completed work is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envbuilder.aot.deploy import deploy_prepared
from envbuilder.archive.names import read_archive
from envbuilder.config.models import read_rules
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.locking import tidy
from envbuilder.deployment.object_store import check_options, deploy_to_objects
from envbuilder.errors import EnvbuilderError, VerifyError
from envbuilder.fleet.build_many import Outcome, build_many
from envbuilder.fleet.options import FleetOptions
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.plan import (
    Row,
    Target,
    check_precompile,
    copy,
    plan_models,
    refused,
    why_copied,
)
from envbuilder.fleet.repository.survey import Model, model_digest, survey
from envbuilder.fleet.repository.verified import Verified, read_verified, verified_of, write_verified
from envbuilder.store.session import Session
from envbuilder.verification.report import Report
from envbuilder.verification.request import VerifyRequest
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import verify as verify_archive

Verifier = Callable[[Path, Model, Session], Report]
"""Verifies an archive with a model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyOptions:
    """The options of ``apply``."""

    output: str | None = None
    """The target, a folder or an object store; None: in place."""
    replace: bool = False
    """Whether to replace and delete files there that neither `deploy` nor `apply` wrote."""
    plan: bool = False
    """Whether to only plan, and write nothing."""
    verify: bool = True
    """Whether to verify each pair of environment and model once before deploying it."""
    server: bool | None = None
    """Whether to use a real server; None: if one is available."""
    archives: Path = Path("envs")
    """The folder for archives."""
    interpreter_change: bool = False
    """Whether another CPython may replace the locked one."""
    only: frozenset[Path] | None = None
    """The recipes whose models are included; None: all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """The outcome for each model, or with ``plan`` the planned one."""

    rows: tuple[Row, ...]
    planned: bool

    @property
    def changes(self) -> int:
        """How many models were changed, or would be."""
        return sum(row.state == "change" for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """Models that failed."""
        return tuple(row for row in self.rows if row.state == "refused")


def apply(
    repository: Path,
    session: Session,
    options: ApplyOptions = ApplyOptions(),
    *,
    verifier: Verifier | None = None,
) -> Applied:
    """Bring every model of *repository* up to date with its recipe's lock: build, verify, deploy.

    An error with one model is reported in its row, and the others continue. An interrupted run is resumed: built
    archives, verified pairs and deployed models are not touched again.

    Raises:
        DeployError: the repository cannot be read.
        RecipeError: ``[models]`` of envbuilder.toml is invalid.
    """
    here = session.at(Path.cwd(), remote=False)
    target = Target(repository=repository, output=options.output, replace=options.replace)
    rules = read_rules(Path.cwd(), repository.absolute())
    if not options.plan and not target.is_remote and target.folder.is_dir():
        tidy(target.folder, here.reporter)  # restore a model that was being replaced
    models = survey(repository, rules)
    for pattern in rules.unmatched([model.name for model in models]):
        here.reporter.note(f"[models] of envbuilder.toml: {pattern!r} matches no model in {repository}")
    if options.only is not None:
        only = {path.resolve() for path in options.only}
        models = [one for one in models if one.recipe is not None and one.recipe.path.resolve() in only]
    rows = plan_models(models, target, here, options.archives)
    if options.plan:
        return Applied(rows=tuple(rows), planned=True)
    rows = _built(rows, here, options)
    verifier = verifier or _verifier(options)
    done = []
    with here.reporter.task(f"Applying {repository}", len(rows), "models") as task:
        for row in rows:
            done.append(_applied(row, target, here, options, verifier))
            task.advance(1)
    return Applied(rows=tuple(done), planned=False)


def _built(rows: Sequence[Row], session: Session, options: ApplyOptions) -> list[Row]:
    """Build missing archives, each recipe once."""
    missing = {row.job.recipe.path: row.job for row in rows if row.job is not None and row.archive is None}
    fleet = FleetOptions(interpreter_change=options.interpreter_change)
    made: dict[Path, Outcome] = {}
    for jobs in by_name(missing.values()):
        outcomes = build_many(jobs, output=options.archives, options=fleet, reporter=session.reporter)
        made |= {job.recipe.path: outcome for job, outcome in zip(jobs, outcomes, strict=True)}
    result = []
    for row in rows:
        outcome = made.get(row.job.recipe.path) if row.job is not None and row.state == "change" else None
        if outcome is not None and outcome.archive is None:
            assert outcome.failure is not None
            error = EnvbuilderError(outcome.failure.message, hint=outcome.failure.hint)
            error.exit_code = outcome.failure.exit_code
            row = refused(row, error)
        elif outcome is not None and outcome.archive is not None:
            row = replace(row, archive=outcome.archive, then=outcome.archive.name)
        result.append(row)
    return result


def by_name(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Yield *jobs* in groups without two of one name: models' own recipes are all called ``recipe``."""
    left = list(jobs)
    while left:
        names: dict[str, Job] = {}
        for job in left:
            names.setdefault(job.recipe.name, job)
        yield list(names.values())
        left = [job for job in left if names[job.recipe.name] is not job]


def _applied(row: Row, target: Target, session: Session, options: ApplyOptions, verifier: Verifier) -> Row:
    try:
        if row.state != "change":
            return row
        if row.job is None:
            return _copied(row, target, session)
        assert row.archive is not None
        if options.verify:
            verified = verify_once(row.archive, row.model, session, verifier)
            if not verified.passed:
                failed = ", ".join(verified.failed)
                raise VerifyError(
                    f"its environment does not serve it: {failed}",
                    hint=f"envbuilder verify {row.archive} --model {row.model.folder}",
                )
        changed = deploy_model(row.archive, row, target, session)
    except EnvbuilderError as error:
        return refused(row, error)
    return row if changed else replace(row, state="current", why="nothing to do")


def verify_once(archive: Path, model: Model, session: Session, verifier: Verifier) -> Verified:
    """Verify *archive* with *model*, unless the two passed together before.

    Raises:
        VerifyError, DeployError: it cannot be verified.
    """
    _, sha256 = read_archive(archive)
    digest = model_digest(model)
    known = read_verified(archive, sha256)
    if digest in known and known[digest].passed:
        return known[digest]
    session.reporter.step(f"Verifying {archive.name} with {model.name}")
    found = verified_of(model.name, verifier(archive, model, session))
    write_verified(archive, sha256, {**read_verified(archive, sha256), digest: found})
    return found


def _verifier(options: ApplyOptions) -> Verifier:
    def verify(archive: Path, model: Model, session: Session) -> Report:
        recipe = model.recipe
        asked = (
            options.server if options.server is not None or recipe is None or recipe.verify.server else False
        )
        request = VerifyRequest(model=model.folder, server=ServerChoice(ask=asked), recipe=recipe)
        return verify_archive(archive, session, request)

    return verify


def deploy_model(archive: Path, row: Row, target: Target, session: Session) -> bool:
    """Deploy one model; return whether that changed anything.

    Raises:
        DeployError, IntegrityError, StoreError: see :func:`envbuilder.deployment.layout.deploy`.
    """
    model, options = row.model, replace(row.options, replace=target.replace)
    check_precompile(row, target)
    if target.is_remote:
        assert target.output is not None
        check_options(target.output, options)
        timeout = session.settings.timeout
        made = deploy_to_objects(
            archive, model.folder, target.output, options, timeout=timeout, reporter=session.reporter
        )
        return made.changed
    if model.choice.precompile:
        return deploy_prepared(
            archive, model.folder, target.folder, session, options, precompile=True, complete=False
        ).changed
    return deploy(archive, model.folder, target.folder, options, reporter=session.reporter).changed


def _copied(row: Row, target: Target, session: Session) -> Row:
    copied = copy(row.model, target, session)
    return replace(row, state="change" if copied.changed else "untouched", why=why_copied(row.model, copied))
