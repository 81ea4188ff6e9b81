"""``envbuilder build`` of many recipes, with an outcome for each."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from envbuilder.assemble.packing import tools
from envbuilder.errors import EnvbuilderError, RecipeError
from envbuilder.fleet.local import run_here
from envbuilder.fleet.options import FleetOptions
from envbuilder.fleet.plan import Job, Node, last_key, plan
from envbuilder.fleet.sharing import Sharing
from envbuilder.fleet.tasks import Done, Failure, Terms
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore, open_remote
from envbuilder.transfer.archives import download_archive
from envbuilder.transfer.expected import wanted_of
from envbuilder.transfer.records import find_record
from envbuilder.util.files import file_sha256
from envbuilder.util.text import counted

State = Literal["built", "already there", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of one recipe."""

    recipe: str
    state: State
    archive: Path | None = None
    sha256: str | None = None
    size: int | None = None
    """Size of the archive in bytes."""
    failure: Failure | None = None
    """Why it failed, or how its verification failed."""
    verified: str | None = None
    """The result of its verification, in one line."""

    def row(self) -> tuple[str, str, str]:
        """Return it as a table row."""
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


def build_many(
    jobs: Sequence[Job],
    *,
    output: Path,
    options: FleetOptions | None = None,
    reporter: Reporter = SILENT,
) -> list[Outcome]:
    """Build the archives of *jobs* in the folder *output*, on this machine's cores, or on the cluster at an address.

    Common tasks are done once. On a cluster all results go through the remote store. An error in one recipe is its
    outcome.

    Raises:
        RecipeError: a cluster is used without a remote store that its workers share.
        ClusterError: see :func:`envbuilder.fleet.dask.run_on_cluster`.
    """
    options = options or FleetOptions()
    cluster, pull = options.cluster, options.pull
    with ExitStack() as stack:
        sharing = None
        if cluster is not None:
            _check_stores(jobs)
            sharing = stack.enter_context(Sharing(reporter))
        terms = Terms(
            tools={name: version for job in jobs for name, version in tools(job.lock).items()},
            sharing=cluster is not None,
            verify=options.verify,
            interpreter_change=options.interpreter_change,
            threads=options.threads or _default_threads(jobs, cluster),
            key=None if sharing is None else sharing.key,
        )
        outcomes: dict[str, Outcome] = {}
        missing = []
        for job in jobs:
            there = None
            if sharing is not None and not options.verify and sharing.trusts_anyone(job.settings):
                there = _there(job, sharing.remote(job.settings), output, pull, reporter)
            if there is None:
                missing.append(job)
            else:
                outcomes[job.recipe.name] = there
        if sharing is not None:
            upload_wheelhouses(missing)
        made = _make(missing, terms, output, cluster, sharing, reporter)
        for job, done in made:
            remote = None if sharing is None else sharing.remote(job.settings)
            outcomes[job.recipe.name] = _outcome(job, done, output, remote, pull, reporter)
        if missing and cluster is None:
            with suppress(OSError):
                Store.open().prune()
    return [outcomes[job.recipe.name] for job in jobs]


def _make(
    jobs: Sequence[Job],
    terms: Terms,
    output: Path,
    cluster: str | None,
    sharing: Sharing | None,
    reporter: Reporter,
) -> Iterator[tuple[Job, Done]]:
    """Do the tasks of *jobs*; yield each job with the result of its last task."""
    given = {job.recipe.name: job for job in jobs}
    if sharing is not None:
        jobs = [replace(job, settings=sharing.for_workers(job.settings)) for job in jobs]
    nodes = plan(jobs, terms, None if cluster is not None else output.absolute())
    by_key = {last_key(job, terms): given[job.recipe.name] for job in jobs}
    told: set[str] = set()
    with (
        reporter.task(f"Building {counted(len(jobs), 'archive')}", len(nodes), "tasks") as task,
        closing(_run(nodes, cluster)) as results,
    ):
        for key, done in results:
            task.advance(1)
            for note in done.notes:
                if note not in told:
                    told.add(note)
                    reporter.note(note)
            if sharing is not None:
                sharing.countersign(nodes[key].settings, done.signed)
            if key in by_key:
                yield by_key[key], done


def _check_stores(jobs: Sequence[Job]) -> None:
    """Refuse a cluster without a shared remote store.

    Raises:
        RecipeError: a job has none.
    """
    if any(job.settings.store is None for job in jobs):
        raise RecipeError(
            "a cluster's workers meet in a remote store, and none is named",
            hint='set store = "s3://bucket/folder" in envbuilder.toml; file:// works on a disk that all workers share',
        )


def _default_threads(jobs: Sequence[Job], cluster: str | None) -> int | None:
    if cluster is not None:
        return None  # the workers know
    return 1 if len(jobs) > 1 else min(os.cpu_count() or 1, 8)  # with many, each process uses one


def _run(nodes: Mapping[str, Node], cluster: str | None) -> Generator[tuple[str, Done]]:
    if nodes and cluster is None:
        yield from run_here(nodes)
    elif nodes and cluster is not None:
        from envbuilder.fleet.dask import run_on_cluster

        yield from run_on_cluster(nodes, cluster)


def upload_wheelhouses(jobs: Sequence[Job]) -> int:
    """Upload artifacts from this machine's wheelhouses, which others may not have. Return how many were new.

    Raises:
        StoreError: the remote store cannot be written.
    """
    sent = 0
    for job in jobs:
        folders = [Path(link) for link in job.settings.find_links if "://" not in link]
        remote = open_remote(job.settings)
        assert remote is not None
        for artifact in job.lock.artifacts:
            files = [folder / artifact.filename for folder in folders]
            found = next((f for f in files if f.is_file() and f.stat().st_size == artifact.size), None)
            if found is None or remote.holds("artifacts", artifact.sha256):
                continue
            if file_sha256(found) == artifact.sha256:
                sent += remote.put("artifacts", artifact.sha256, found)
    return sent


def _there(job: Job, remote: RemoteStore, output: Path, pull: bool, reporter: Reporter) -> Outcome | None:
    """Find archives in the remote store, and with *pull* download them."""
    record = find_record(job.key, remote, reporter)
    if record is None:
        return None
    if pull:
        return _brought(job, record.sha256, "already there", remote, output, reporter)
    return Outcome(recipe=job.recipe.name, state="already there", sha256=record.sha256, size=record.size)


def _outcome(
    job: Job, done: Done, output: Path, remote: RemoteStore | None, pull: bool, reporter: Reporter
) -> Outcome:
    if done.report is None:
        failure = done.failure or Failure(message="nothing was made", hint=None, exit_code=1)
        return Outcome(recipe=job.recipe.name, state="refused", failure=failure)
    state: State = "already there" if done.report.already_there else "built"
    report = done.report
    outcome = Outcome(
        recipe=job.recipe.name,
        state=state,
        archive=output / report.archive.name if remote is None else None,
        sha256=report.sha256,
        size=report.size,
    )
    if remote is not None and pull:
        outcome = _brought(job, done.report.sha256, state, remote, output, reporter)
    return replace(outcome, failure=outcome.failure or done.failure, verified=done.verified)


def _brought(
    job: Job, sha256: str, state: State, remote: RemoteStore, output: Path, reporter: Reporter
) -> Outcome:
    wanted = wanted_of(job.recipe, job.lock)
    try:
        transfer = download_archive(remote, sha256, output, wanted=wanted, reporter=reporter)
    except EnvbuilderError as error:
        return refused(job.recipe.name, error)
    return Outcome(
        recipe=job.recipe.name,
        state=state,
        archive=transfer.archive,
        sha256=sha256,
        size=transfer.size,
    )
