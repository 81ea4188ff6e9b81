"""``envbuilder build`` of many recipes: what became of each, in one table."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from envbuilder.building.record import tools
from envbuilder.errors import EnvbuilderError, RecipeError
from envbuilder.fleet.dask import run_on_cluster
from envbuilder.fleet.local import run_here
from envbuilder.fleet.plan import Job, Node, last_key, plan
from envbuilder.fleet.tasks import Done, Failure, Terms
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.remote import RemoteStore
from envbuilder.transfer.archives import bring_archive, find_record
from envbuilder.util.files import file_sha256

State = Literal["built", "already there", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one recipe."""

    recipe: str
    state: State
    archive: Path | None = None
    sha256: str | None = None
    size: int | None = None
    """Bytes of the archive."""
    failure: Failure | None = None
    """Why it was refused, or how its verification failed."""
    verified: str | None = None
    """What its verification found, in a line."""

    def row(self) -> tuple[str, str, str]:
        """Say it in a row of a table."""
        words = [str(self.archive)] if self.archive is not None else []
        words += [f"sha256 {self.sha256}"] if self.archive is None and self.sha256 is not None else []
        if self.failure is not None:
            words.append(" ".join(self.failure.message.split()))
            words += [f"({self.failure.hint})"] if self.failure.hint else []
        elif self.verified is not None:
            words.append(f"verified: {self.verified.partition(': ')[2]}")
        return self.recipe, self.state, " ".join(words)


def refused(recipe: str, error: EnvbuilderError) -> Outcome:
    """Return the outcome of a recipe that cannot be built."""
    failure = Failure(message=error.message, hint=error.hint, exit_code=error.exit_code)
    return Outcome(recipe=recipe, state="refused", failure=failure)


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetOptions:
    """How many recipes are built."""

    cluster: str | None = None
    """Address of a Dask scheduler; None: on this machine."""
    pull: bool = True
    """Whether the archives of a cluster are brought here; else they stay in the remote store."""
    verify: bool = False
    """Whether each archive is verified, too."""
    interpreter_change: bool = False
    """Whether another CPython may stand in for the locked one."""
    threads: int | None = None
    """None: one for each CPU, at most 8."""


def build_many(
    jobs: Sequence[Job],
    *,
    output: Path,
    options: FleetOptions = FleetOptions(),
    reporter: Reporter = SILENT,
) -> list[Outcome]:
    """Build the archives of *jobs* in the folder *output*, on this machine's cores, or on the cluster at an address.

    Tasks that several have in common are done once. On a cluster everything that is made goes through the store
    elsewhere. What goes wrong with one recipe is its outcome.

    Raises:
        RecipeError: a cluster, and no store elsewhere that its workers share.
        ClusterError: see :func:`envbuilder.fleet.dask.run_on_cluster`.
    """
    cluster, pull = options.cluster, options.pull
    terms = Terms(
        tools={name: version for job in jobs for name, version in tools(job.lock).items()},
        sharing=cluster is not None,
        verify=options.verify,
        interpreter_change=options.interpreter_change,
        threads=options.threads or _default_threads(jobs, cluster),
    )
    outcomes: dict[str, Outcome] = {}
    missing = []
    for job in jobs:
        there = _there(job, output, pull, reporter) if cluster is not None and not options.verify else None
        if there is None:
            missing.append(job)
        else:
            outcomes[job.recipe.name] = there
    if cluster is not None:
        send_wheelhouses(missing)
    nodes = plan(missing, terms, None if cluster is not None else output.absolute())
    by_key = {last_key(job, terms): job for job in missing}
    told: set[str] = set()
    with (
        reporter.task(f"Building {len(missing)} archives", len(nodes), "tasks") as task,
        closing(_run(nodes, cluster)) as results,
    ):
        for key, done in results:
            task.advance(1)
            for note in done.notes:
                if note not in told:
                    told.add(note)
                    reporter.note(note)
            if key in by_key:
                job = by_key[key]
                outcomes[job.recipe.name] = _outcome(
                    job, done, output, None if cluster is None else pull, reporter
                )
    return [outcomes[job.recipe.name] for job in jobs]


def _default_threads(jobs: Sequence[Job], cluster: str | None) -> int | None:
    if cluster is not None:
        return None  # the workers know
    return 1 if len(jobs) > 1 else min(os.cpu_count() or 1, 8)  # of many, each process takes one


def _run(nodes: Mapping[str, Node], cluster: str | None) -> Generator[tuple[str, Done]]:
    if nodes:
        yield from run_here(nodes) if cluster is None else run_on_cluster(nodes, cluster)


def send_wheelhouses(jobs: Sequence[Job]) -> int:
    """Upload what only this machine may have: artifacts that lie in its wheelhouses. Return how many were not there.

    Raises:
        StoreError: the store elsewhere cannot be written.
    """
    sent = 0
    for job in jobs:
        folders = [Path(link) for link in job.settings.find_links if "://" not in link]
        remote = _remote(job)
        for artifact in job.lock.artifacts:
            files = [folder / artifact.filename for folder in folders]
            found = next((f for f in files if f.is_file() and f.stat().st_size == artifact.size), None)
            if found is None or remote.holds("artifacts", artifact.sha256):
                continue
            if file_sha256(found) == artifact.sha256:
                sent += remote.put("artifacts", artifact.sha256, found)
    return sent


def _there(job: Job, output: Path, pull: bool, reporter: Reporter) -> Outcome | None:
    """Find, and with *pull* fetch, what the store elsewhere has already."""
    if job.settings.store is None:
        raise RecipeError(
            "a cluster's workers meet in a store elsewhere, and none is named",
            hint='envbuilder.toml names one: store = "s3://bucket/folder"; file:// does on a disk that all of them see',
        )
    record = find_record(job.key, _remote(job), reporter)
    if record is None:
        return None
    if pull:
        return _brought(job, record.sha256, "already there", output, reporter)
    return Outcome(recipe=job.recipe.name, state="already there", sha256=record.sha256, size=record.size)


def _outcome(job: Job, done: Done, output: Path, pull: bool | None, reporter: Reporter) -> Outcome:
    """Say what became of *job*. *pull*: whether its archive is brought from the remote store; None: it is here."""
    if done.report is None:
        failure = done.failure or Failure(message="nothing was made", hint=None, exit_code=1)
        return Outcome(recipe=job.recipe.name, state="refused", failure=failure)
    state: State = "already there" if done.report.already_there else "built"
    report = done.report
    outcome = Outcome(
        recipe=job.recipe.name,
        state=state,
        archive=None if pull is not None else output / report.archive.name,
        sha256=report.sha256,
        size=report.size,
    )
    if pull:
        outcome = _brought(job, done.report.sha256, state, output, reporter)
    return replace(outcome, failure=outcome.failure or done.failure, verified=done.verified)


def _brought(job: Job, sha256: str, state: State, output: Path, reporter: Reporter) -> Outcome:
    try:
        transfer = bring_archive(_remote(job), sha256, output, reporter=reporter)
    except EnvbuilderError as error:
        return refused(job.recipe.name, error)
    return Outcome(
        recipe=job.recipe.name,
        state=state,
        archive=transfer.archive,
        sha256=sha256,
        size=transfer.size,
    )


def _remote(job: Job) -> RemoteStore:
    assert job.settings.store is not None
    return RemoteStore(job.settings.store, timeout=job.settings.timeout)
