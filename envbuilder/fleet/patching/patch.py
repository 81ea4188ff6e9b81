"""``envbuilder patch``: relock what holds it, build, verify, deploy, and move the aliases; or go back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from envbuilder.compare.diff import compare
from envbuilder.compare.sides import read_side
from envbuilder.config.models import read_rules
from envbuilder.errors import EnvbuilderError, RecipeError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.fleet.build_many import build_many
from envbuilder.fleet.options import FleetOptions
from envbuilder.fleet.patching.holdings import Holding, find_holdings
from envbuilder.fleet.patching.journal import Entry, Patched, read_journal, write_journal
from envbuilder.fleet.patching.relock import relock
from envbuilder.fleet.patching.subject import Subject, read_subject
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.apply import ApplyOptions, Verifier, apply, by_name
from envbuilder.fleet.repository.survey import Model, survey
from envbuilder.inventory.components import take_inventory
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.pylock import lock_path
from envbuilder.recipe.load import load_recipes
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import aliases_of, move_alias
from envbuilder.transfer.push_pull import push_archive
from envbuilder.util.files import atomic_write, read_text

State = Literal["affected", "patched", "rolled back", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchOptions:
    """How a fleet is patched."""

    repositories: tuple[Path, ...] = ()
    """Model repositories whose models are redeployed."""
    advisories: Path | None = None
    """A database to look an id up in; None: the one that envbuilder.toml names."""
    archives: Path = Path("envs")
    plan: bool = False
    """Report which recipes are affected, and change nothing."""
    verify: bool = True
    interpreter_change: bool = False
    """Whether another CPython may stand in for the locked one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchedRecipe:
    """What became of one recipe."""

    recipe: str
    state: State
    found: tuple[str, ...] = ()
    """What it holds: ``beta 1.0``, ``zlib 1.2.11 in pillow``."""
    changes: tuple[str, ...] = ()
    """What moved in the lock: ``beta 1.0 -> 1.1``."""
    before: Path | None = None
    archive: Path | None = None
    """The new archive."""
    aliases: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    markdown: str = ""
    """What changed, for a pull request."""
    error: EnvbuilderError | None = None
    path: Path = field(default_factory=Path)

    def cells(self) -> tuple[str, ...]:
        """Return it as a row of a table."""
        what = "; ".join(self.changes)
        if self.error is not None:
            said = " ".join(self.error.message.split())
            what = f"{said} ({self.error.hint})" if self.error.hint else said
        archive = (self.archive or self.before or Path("-")).name
        return (
            self.recipe,
            self.state,
            ", ".join(self.found),
            what,
            archive,
            ", ".join(self.aliases),
            ", ".join(self.models),
        )


def patch(
    said: str, session: Session, options: PatchOptions = PatchOptions(), *, verifier: Verifier | None = None
) -> list[PatchedRecipe]:
    """Patch every recipe in ``recipes/``, and every model's own, whose lock or archive holds what *said* names.

    *said* is the path of an OSV record, an advisory's id, or ``package==version``. Only the packages that hold it are
    upgraded. What goes wrong with one recipe is its row's: its lock is as it was. Interrupted, it goes on when it is
    run again.

    Raises:
        RecipeError, IntegrityError: see :func:`envbuilder.fleet.patching.subject.read_subject`.
    """
    here = session.at(Path.cwd(), remote=False)
    subject = read_subject(said, options.advisories or here.settings.advisories)
    models = [
        model for one in options.repositories for model in survey(one, read_rules(Path.cwd(), one.absolute()))
    ]
    recipes = _recipes(models)
    holdings, problems = find_holdings(subject, recipes, models, here, options.archives)
    rows = {
        name: PatchedRecipe(recipe=name, state="refused", error=error) for name, error in problems.items()
    }
    journal = _Journal(options.archives, subject.name, options.repositories, write=not options.plan)
    if options.plan:
        rows |= {one.job.recipe.name: _row(one, "affected") for one in holdings}
        return [rows[name] for name in sorted(rows)]
    jobs, kept = _relock(subject, holdings, journal, here)
    rows |= kept
    jobs += _unfinished(journal, recipes, {one.job.recipe.path for one in holdings}, here)
    rows |= _build(jobs, holdings, models, journal, here, options)
    done = [row for row in rows.values() if row.state == "patched"]
    for row in deploy_again(done, options, here, verifier):
        rows[row.recipe] = row
    for name, row in rows.items():
        if row.state == "patched":
            rows[name] = _move_aliases(row, journal, session)
    if not any(row.state == "refused" and journal.patched.entry(row.path) for row in rows.values()):
        journal.finish()  # else it goes on when it is run again
    return [rows[name] for name in sorted(rows)]


def _recipes(models: Sequence[Model]) -> list[Recipe]:
    try:
        found = load_recipes((), Path.cwd())
    except RecipeError:
        if not any(model.recipe for model in models):
            raise
        found = []
    known = {recipe.path.resolve(): recipe for recipe in found}
    for model in models:
        if model.recipe is not None:
            known.setdefault(model.recipe.path.resolve(), model.recipe)
    return list(known.values())


def _row(holding: Holding, state: State) -> PatchedRecipe:
    return PatchedRecipe(
        recipe=holding.job.recipe.name,
        state=state,
        found=tuple(dict.fromkeys(one.said() for one in holding.held)),
        before=holding.archive,
        models=tuple(model.name for model in holding.models),
        path=holding.job.recipe.path,
    )


def _resumed(entry: Entry, recipe: Recipe, models: Sequence[Model]) -> PatchedRecipe:
    """Return the row of a recipe that was relocked before the patch was interrupted."""
    before = Path(entry.archive) if entry.archive is not None else None
    own = (one.name for one in models if one.recipe is not None and one.recipe.path == recipe.path)
    return PatchedRecipe(
        recipe=recipe.name,
        state="patched",
        found=entry.found,
        before=before if before is not None and before.is_file() else None,
        models=tuple(own),
        path=recipe.path,
    )


class _Journal:
    """The journal of one patch, kept as it goes on."""

    def __init__(self, folder: Path, subject: str, repositories: Sequence[Path], *, write: bool) -> None:
        self._folder = folder
        self._earlier = read_journal(folder)
        last = self._earlier[-1] if self._earlier else None
        if last is not None and last.subject == subject and not last.finished:
            self._earlier, self.patched = self._earlier[:-1], last  # it was interrupted
        else:
            self.patched = Patched(subject=subject)
        named = dict.fromkeys([*self.patched.repositories, *(str(one.absolute()) for one in repositories)])
        self.patched = replace(self.patched, repositories=tuple(named))
        self._write = write
        self._written = last is not None

    def note(self, *entries: Entry) -> None:
        for entry in entries:
            self.patched = self.patched.with_entry(entry)
        patches = (*self._earlier, *([self.patched] if self.patched.entries else []))
        if self._write and (patches or self._written):
            write_journal(self._folder, patches)
            self._written = True

    def forget(self, recipe: Path) -> None:
        others = tuple(one for one in self.patched.entries if one.recipe != str(recipe))
        self.patched = replace(self.patched, entries=others)

    def finish(self) -> None:
        self.patched = replace(self.patched, finished=True)
        self.note()


def _relock(
    subject: Subject, holdings: Sequence[Holding], journal: _Journal, session: Session
) -> tuple[list[Job], dict[str, PatchedRecipe]]:
    """Relock each holding with newer versions of what it holds; return the jobs to build, and what was refused."""
    journal.note(
        *(
            journal.patched.entry(one.job.recipe.path)
            or Entry(
                recipe=str(one.job.recipe.path),
                lock=str(lock_path(one.job.recipe)),
                before=read_text(lock_path(one.job.recipe)),
                found=_row(one, "affected").found,
                archive=None if one.archive is None else str(one.archive.absolute()),
            )
            for one in holdings
        )
    )

    jobs, kept, noted = [], {}, []
    for holding, result in zip(holdings, relock(subject, holdings, session), strict=True):
        recipe = holding.job.recipe
        entry = journal.patched.entry(recipe.path)
        assert entry is not None
        if isinstance(result, EnvbuilderError):
            atomic_write(lock_path(recipe), entry.before.encode())
            journal.forget(recipe.path)
            kept[recipe.name] = replace(_row(holding, "refused"), error=result)
        else:
            jobs.append(result)
            noted.append(replace(entry, after=read_text(lock_path(recipe))))
    journal.note(*noted)  # once: it holds every lock
    return jobs, kept


def _unfinished(
    journal: _Journal, recipes: Sequence[Recipe], relocked: set[Path], session: Session
) -> list[Job]:
    """Return the jobs of recipes that this patch had relocked when it was interrupted."""
    jobs = []
    for recipe in recipes:
        entry = journal.patched.entry(recipe.path)
        if entry is not None and recipe.path not in relocked:
            there = with_files_beside(recipe, session.at(recipe.path.parent))
            jobs.append(Job(recipe=recipe, lock=check_lock(recipe), settings=there.settings))
            if entry.after is None:
                journal.note(replace(entry, after=read_text(lock_path(recipe))))
    return jobs


def _build(
    jobs: Sequence[Job],
    holdings: Sequence[Holding],
    models: Sequence[Model],
    journal: _Journal,
    session: Session,
    options: PatchOptions,
) -> dict[str, PatchedRecipe]:
    """Build the new archives; the lock of one that cannot be built, or fails its checks, is put back."""
    rows = {}
    known = {one.job.recipe.path: one for one in holdings}
    alone = options.verify and not options.repositories
    fleet = FleetOptions(interpreter_change=options.interpreter_change, verify=alone)
    for group in by_name(jobs):
        outcomes = build_many(group, output=options.archives, options=fleet, reporter=session.reporter)
        for job, outcome in zip(group, outcomes, strict=True):
            holding, name = known.get(job.recipe.path), job.recipe.name
            entry = journal.patched.entry(job.recipe.path)
            assert entry is not None
            row = _resumed(entry, job.recipe, models) if holding is None else _row(holding, "patched")
            if outcome.failure is not None or outcome.archive is None:
                error = EnvbuilderError(
                    outcome.failure.message if outcome.failure else "nothing was built",
                    hint=outcome.failure.hint if outcome.failure else None,
                )
                error.exit_code = outcome.failure.exit_code if outcome.failure else 1
                atomic_write(Path(entry.lock), entry.before.encode())
                journal.forget(job.recipe.path)
                rows[name] = replace(row, state="refused", error=error)
                continue
            changes, markdown = _changes(entry, session)
            rows[name] = replace(row, archive=outcome.archive, changes=changes, markdown=markdown)
    journal.note()
    return rows


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


def deploy_again(
    rows: Sequence[PatchedRecipe], options: PatchOptions, session: Session, verifier: Verifier | None
) -> Iterator[PatchedRecipe]:
    """Redeploy the models of patched recipes, each verified with its new environment."""
    only = frozenset(row.path for row in rows)
    wrong: dict[Path, EnvbuilderError] = {}
    for repository in options.repositories if only else ():
        asked = ApplyOptions(
            archives=options.archives,
            verify=options.verify,
            interpreter_change=options.interpreter_change,
            only=only,
        )
        for one in apply(repository, session, asked, verifier=verifier).failures:
            if one.model.recipe is not None and one.error is not None:
                error = type(one.error)(f"{one.model.name}: {one.error.message}", hint=one.error.hint)
                error.exit_code = one.error.exit_code
                wrong.setdefault(one.model.recipe.path, error)
    for row in rows:
        yield replace(row, state="refused", error=wrong[row.path]) if row.path in wrong else row


def _move_aliases(row: PatchedRecipe, journal: _Journal, session: Session) -> PatchedRecipe:
    """Point the aliases that pointed to the archive before to the new one, which is pushed first."""
    there = session.at(row.path.parent)
    remote = there.store.remote
    if remote is None or row.before is None or row.archive is None or not remote.trust.can_sign:
        return row
    try:
        before = take_inventory(row.before).sha256
        moved: dict[str, str] = {}
        for alias in aliases_of(row.recipe, remote, there.store):
            if alias.sha256 == before:
                made = push_archive(row.archive, there)
                move_alias(alias, made.sha256, there.store, remote)
                moved[alias.name] = before
        entry = journal.patched.entry(row.path)
        if entry is not None and moved:
            journal.note(replace(entry, aliases={**entry.aliases, **moved}))
    except EnvbuilderError as error:
        return replace(row, state="refused", error=error)
    return replace(row, aliases=tuple(moved))
