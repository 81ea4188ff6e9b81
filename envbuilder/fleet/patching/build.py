"""The new archives of a patch: built, verified, and looked into; where that fails, the lock is as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envbuilder.assemble.packing import pack_rules
from envbuilder.compare.diff import compare
from envbuilder.compare.sides import read_side
from envbuilder.errors import EnvbuilderError, ResolveError
from envbuilder.fleet.build_many import Outcome, build_many
from envbuilder.fleet.options import FleetOptions
from envbuilder.fleet.patching.holdings import Held, Holding, changed_between, held_by, labels_of
from envbuilder.fleet.patching.journal import Entry, Journal
from envbuilder.fleet.patching.rows import PatchedRecipe
from envbuilder.fleet.patching.subject import Subject
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.apply import by_name
from envbuilder.fleet.repository.environments import Inventories
from envbuilder.store.session import Session
from envbuilder.util.files import atomic_write


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The builds of a patch."""

    jobs: Sequence[Job]
    rows: Mapping[Path, PatchedRecipe]
    """The row of each recipe's job if it succeeds."""
    holdings: Mapping[Path, Holding]
    served: frozenset[Path]
    """Recipes with models in the repositories: those are verified with them, before they are deployed."""
    output: Path
    verify: bool
    interpreter_change: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The results of the jobs."""

    rows: dict[Path, PatchedRecipe]
    left: dict[Path, tuple[Held, ...]]
    """Affected components of a new archive that no newer version of a package fixes."""


def build(
    work: Work, subject: Subject, journal: Journal, inventories: Inventories, session: Session
) -> Built:
    """Build the new archives; the lock of one that cannot be built, fails its checks, or still holds it is put back."""
    after = Remaining(subject, inventories)
    built = Built(rows={}, left={})
    for job, outcome in _outcomes(work, session):
        path = job.recipe.path
        entry, row = journal.entry(path), work.rows[path]
        error = _failure(outcome)
        left: tuple[Held, ...] = ()
        if error is None and outcome.archive is not None:
            try:
                left = after.of(work.holdings.get(path), job, outcome.archive)
            except EnvbuilderError as wrong:
                error = wrong
            if error is None and any(one.package is not None for one in left):
                error = _still_there(left)
        if error is not None:
            if entry is not None:
                atomic_write(Path(entry.lock), entry.before.encode())
                journal.forget(path)
            built.rows[path] = replace(row, state="refused", error=error)
            continue
        changes, markdown = ((), "") if entry is None else _changes(entry, session)
        built.rows[path] = replace(row, archive=outcome.archive, changes=changes, markdown=markdown)
        if left:
            built.left[path] = left
    journal.note()
    return built


def _outcomes(work: Work, session: Session) -> Iterator[tuple[Job, Outcome]]:
    """Build in groups without two of one name; verify those that no deployment verifies."""
    for verify in (True, False):
        chosen = [one for one in work.jobs if verify == (work.verify and one.recipe.path not in work.served)]
        fleet = FleetOptions(interpreter_change=work.interpreter_change, verify=verify)
        for group in by_name(chosen):
            outcomes = build_many(group, output=work.output, options=fleet, reporter=session.reporter)
            yield from zip(group, outcomes, strict=True)


def _failure(outcome: Outcome) -> EnvbuilderError | None:
    if outcome.failure is None and outcome.archive is not None:
        return None
    if outcome.failure is None:
        return EnvbuilderError("nothing was built")
    error = EnvbuilderError(outcome.failure.message, hint=outcome.failure.hint)
    error.exit_code = outcome.failure.exit_code
    return error


def _still_there(left: Sequence[Held]) -> EnvbuilderError:
    names = ", ".join(dict.fromkeys(one.package for one in left if one.package is not None))
    return ResolveError(
        f"the newest versions hold it, too: {', '.join(labels_of(left))}",
        hint=f"wait for a version of {names} without it, or remove the package from the recipe",
    )


@dataclass(slots=True)
class Remaining:
    """What new archives still hold; where the same packages changed in the same way, one of them is looked into."""

    subject: Subject
    inventories: Inventories
    _known: dict[object, tuple[Held, ...]] = field(default_factory=dict)

    def of(self, holding: Holding | None, job: Job, archive: Path) -> tuple[Held, ...]:
        """Return what the *archive* of *job* holds, which *holding* says of the one before.

        Raises:
            IntegrityError: it cannot be read.
        """
        if holding is None or holding.inventory is None or holding.job.lock.conda is not None:
            return self._look(job, archive)
        before, after = holding.job.lock, job.lock
        changed = set(changed_between(before, after))
        gone = {one.name for one in before.artifacts} - {one.name for one in after.artifacts}
        if before.interpreter != after.interpreter:
            return self._look(job, archive)
        key = (
            tuple(sorted((one.name, one.sha256) for one in after.artifacts if one.name in changed)),
            (after.python, after.interpreter, pack_rules(job.recipe)),
        )
        if key not in self._known:
            found = self._look(job, archive)
            self._known[key] = tuple(one for one in found if one.package in changed)
        kept = tuple(one for one in holding.held if one.package not in changed | gone)
        return (*kept, *self._known[key])

    def _look(self, job: Job, archive: Path) -> tuple[Held, ...]:
        return held_by(self.subject, job.lock, self.inventories.of(archive), archive)


def _changes(entry: Entry, session: Session) -> tuple[tuple[str, ...], str]:
    with session.store.scratch("patch") as scratch:
        before = scratch / Path(entry.lock).name
        before.write_text(entry.before, encoding="utf-8")
        root = Path.cwd()
        difference = compare(read_side(str(before), root), read_side(entry.lock, root))
    moved = tuple(
        f"{one.name} {one.before.version if one.before else 'new'} -> {one.after.version if one.after else 'gone'}"
        for one in difference.packages
    )
    return moved, difference.markdown()
