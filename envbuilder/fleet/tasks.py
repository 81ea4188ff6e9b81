"""The tasks: fetch and assemble an artifact, pack an archive, verify it.

A task can run on any machine. It gets all its inputs and keeps no state: its results go to that machine's store and
to the remote store, if there is one, from which the next task reads them. So a repeated task finds its earlier
results. Errors are results, not exceptions: they concern one recipe, and the others continue.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, ParamSpec

from envbuilder.archive.exclude import PackRules
from envbuilder.assemble.packing import conda_tools, tools
from envbuilder.base.choose import open_base
from envbuilder.building.build import build, open_assembler
from envbuilder.building.record import BuildReport, build_key, record_of
from envbuilder.config.settings import Settings
from envbuilder.errors import EnvbuilderError, IntegrityError, VerifyError
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.progress import SilentReporter
from envbuilder.recipe.model import Recipe
from envbuilder.store.damage import DamagedArtifactError
from envbuilder.store.session import Session
from envbuilder.store.signed import SignedKind
from envbuilder.transfer.archives import (
    TransferStats,
    download_archive,
    report_beside,
    upload_archive,
    upload_report,
)
from envbuilder.transfer.expected import Wanted
from envbuilder.transfer.records import upload_packages, upload_record
from envbuilder.util.files import atomic_write
from envbuilder.util.malloc import keep_freed_memory

_P = ParamSpec("_P")


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """The common inputs of the tasks of one run."""

    tools: Mapping[str, str]
    """The client's tools, which determine the bytes."""
    sharing: bool
    """Whether results go to the remote store."""
    verify: bool = False
    interpreter_change: bool = False
    threads: int | None = 1
    """Threads of each task; None: its worker's share of the machine."""
    key: str | None = field(default=None, repr=False)
    """The private key (PEM) of this run, with which its workers sign shared objects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a task failed."""

    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The result of a task."""

    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    report: BuildReport | None = None
    """The packed archive. On a cluster, its path is on the other machine."""
    verified: str | None = None
    """What its verification found, in a line."""
    seconds: float = 0.0
    """Its duration in seconds."""
    signed: tuple[tuple[SignedKind, str], ...] = ()
    """Kind and name of each object that it signed in the remote store."""


class _Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


_Task = Callable[_P, Done]


def _timed(task: _Task[_P]) -> _Task[_P]:
    @functools.wraps(task)
    def run(*args: _P.args, **named: _P.kwargs) -> Done:
        began = time.perf_counter()
        done = task(*args, **named)
        return replace(done, seconds=time.perf_counter() - began)

    return run


@_timed
def assemble_wheel(
    terms: Terms, artifact: Artifact, recipe: Recipe, lock: Lock, rules: PackRules, settings: Settings
) -> Done:
    """Fetch an artifact and make its segment.

    *recipe* and *lock* are any that contain it: only their base matters.
    """
    notes = _Notes()
    try:
        with (
            _opened(terms, settings, notes) as session,
            open_base(recipe, lock, session, change=terms.interpreter_change) as base,
            open_assembler(base, rules, session, _threads(terms)) as assembler,
        ):
            key = assembler.wheel_key(artifact)
            remote = session.store.remote if terms.sharing else None
            made = remote is not None and remote.is_signed("segments", key)
            if made and remote is not None and remote.holds("artifacts", artifact.sha256):
                return Done()
            for last in (False, True):
                ((_, path),) = fetch([artifact], lock.cuda, session)
                try:
                    assembler.wheel(artifact, path)
                except DamagedArtifactError as damaged:
                    if last:
                        raise IntegrityError(
                            f"{damaged}: its content in the store changed while it was being read"
                        ) from damaged
                else:
                    break
            if remote is not None:
                remote.put("artifacts", artifact.sha256, path)
    except (EnvbuilderError, OSError) as error:
        return Done(failure=_failure(error), notes=tuple(notes.notes))
    return Done(notes=tuple(notes.notes), signed=_signed(session))


@_timed
def assemble_base(terms: Terms, recipe: Recipe, lock: Lock, rules: PackRules, settings: Settings) -> Done:
    """Make the segments of the base: of the interpreter, or of the conda packages, which are shared as artifacts."""
    notes = _Notes()
    try:
        with (
            _opened(terms, settings, notes) as session,
            open_base(recipe, lock, session, change=terms.interpreter_change) as base,
            open_assembler(base, rules, session, _threads(terms)) as assembler,
        ):
            assembler.base()
            if terms.sharing and session.store.remote is not None:
                upload_packages(recipe, lock, session)
    except (EnvbuilderError, OSError) as error:
        return Done(failure=_failure(error), notes=tuple(notes.notes))
    return Done(signed=_signed(session))  # packing repeats these notes


@_timed
def pack(
    terms: Terms, recipe: Recipe, lock: Lock, settings: Settings, output: Path | None, *made: Done
) -> Done:
    """Pack an archive from the results of other tasks (*made*) into *output*, or else only into the remote store."""
    notes = _Notes()
    failed = next((done.failure for done in made if done.failure is not None), None)
    if failed is not None:
        return Done(failure=failed)
    try:
        with _opened(terms, settings, notes) as session, session.store.scratch("pack") as scratch:
            report = build(
                recipe,
                lock,
                session,
                output=scratch / "envs" if output is None else output,
                interpreter_change=terms.interpreter_change,
                threads=_threads(terms),
                prune=_prune_is_due(),
            )
            store, remote = session.store, session.store.remote
            if terms.sharing and remote is not None:
                upload_archive(report.archive, report.sha256, store, remote, TransferStats(sent=[]))
                silent = replace(session, reporter=SilentReporter())
                with open_base(recipe, lock, silent, change=terms.interpreter_change) as base:
                    key = build_key(recipe, lock, base.interpreter)
                upload_record(key, record_of(report), store, remote)
    except (EnvbuilderError, OSError) as error:
        return Done(failure=_failure(error), notes=tuple(notes.notes))
    # The list of files is long; it is in the manifest next to the archive.
    slim = replace(report, manifest=replace(report.manifest, files=()))
    return Done(report=slim, notes=tuple(notes.notes), signed=_signed(session))


@_timed
def verify(terms: Terms, recipe: Recipe, settings: Settings, output: Path | None, packed: Done) -> Done:
    """Verify the archive that was *packed*; the report goes beside it, and into the remote store."""
    from envbuilder.verification.server.servers import ServerChoice
    from envbuilder.verification.verify import VerifyRequest
    from envbuilder.verification.verify import verify as verify_archive

    if packed.report is None:
        return packed
    notes = _Notes()
    options = recipe.verify
    try:
        with _opened(terms, settings, notes) as session, session.store.scratch("verify") as scratch:
            store, remote = session.store, session.store.remote
            archive = packed.report.archive
            if output is None:
                assert remote is not None
                sha256, wanted = packed.report.sha256, Wanted(recipe=recipe.name)
                brought = download_archive(remote, sha256, scratch, wanted=wanted, reporter=notes)
                archive = brought.archive
            if options.model is not None and not options.model.is_dir():
                raise VerifyError(f"the model directory {options.model} is not on the machine that verifies")
            found = verify_archive(
                archive,
                session,
                VerifyRequest(
                    model=options.model,
                    compile=options.compile,
                    server=ServerChoice(ask=None if options.server else False),
                    recipe=recipe,
                ),
            )
            text = found.json().encode()
            if output is not None:
                atomic_write(report_beside(archive, text), text)
            if terms.sharing and remote is not None:
                upload_report(text, packed.report.sha256, store, remote)
    except (EnvbuilderError, OSError) as error:
        return replace(packed, failure=_failure(error), notes=tuple(notes.notes))
    failure = None
    if not found.passed:
        failed = ", ".join(dict.fromkeys(check.id for check in found.failures))
        failure = Failure(
            message=f"verification failed: {failed}", hint=None, exit_code=VerifyError.exit_code
        )
    return replace(
        packed,
        failure=failure,
        notes=tuple(notes.notes),
        verified=found.summary(),
        signed=_signed(session),
    )


def _prune_is_due() -> bool:
    """Whether to prune the store now, which takes as long as packing a small archive."""
    now = time.monotonic()
    due = now - _pruned.get("", now) >= _PRUNE_SECONDS
    if due or not _pruned:
        _pruned[""] = now
    return due


_PRUNE_SECONDS: Final = 10.0
_pruned: Final[dict[str, float]] = {}


def _threads(terms: Terms) -> int:
    """Return how many threads a task may use."""
    if terms.threads is not None:
        return terms.threads
    distributed = sys.modules.get("distributed")
    at_a_time = 1 if distributed is None else distributed.get_worker().state.nthreads
    return max(1, min((os.cpu_count() or 1) // at_a_time, 8))


@contextmanager
def _opened(terms: Terms, settings: Settings, notes: _Notes) -> Iterator[Session]:
    """Open a session with this machine's store, if its tools make the same bytes as the client's.

    Raises:
        IntegrityError: its tools differ.
    """
    check_tools(terms.tools, {**tools(), **(conda_tools() if "conda-base" in terms.tools else {})})
    keep_freed_memory()
    yield Session(settings=settings, reporter=notes).with_remote(sharing=terms.sharing, key=terms.key)


def _signed(session: Session) -> tuple[tuple[SignedKind, str], ...]:
    return () if session.store.remote is None else tuple(session.store.remote.signed)


def check_tools(wanted: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse a machine with other tools.

    Raises:
        IntegrityError: a tool differs; the message has both versions.
    """
    others = [
        f"{name} {here.get(name, 'missing')} for {version}"
        for name, version in sorted(wanted.items())
        if here.get(name) != version
    ]
    if others:
        raise IntegrityError(
            f"another version of the tool: {', '.join(others)}", hint="install the same envbuilder there"
        )


def _failure(error: EnvbuilderError | OSError) -> Failure:
    if isinstance(error, EnvbuilderError):
        return Failure(message=error.message, hint=error.hint, exit_code=error.exit_code)
    where = f"{error.filename}: " if error.filename is not None else ""
    return Failure(message=f"{where}{error.strerror or error}", hint=None, exit_code=1)
