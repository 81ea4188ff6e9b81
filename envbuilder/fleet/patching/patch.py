"""``envbuilder patch``: relock affected recipes, build, verify, deploy, and move aliases; or roll back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from envbuilder.config.models import read_rules
from envbuilder.errors import EnvbuilderError, RecipeError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.fleet.patching.build import Work, build
from envbuilder.fleet.patching.finish import finish
from envbuilder.fleet.patching.holdings import Holding, labels_of
from envbuilder.fleet.patching.journal import Entry, Journal
from envbuilder.fleet.patching.relock import relock
from envbuilder.fleet.patching.rows import PatchedRecipe, State, label
from envbuilder.fleet.patching.search import Scope, search
from envbuilder.fleet.patching.subject import Subject, read_subject
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.apply import ApplyOptions, Verifier, apply
from envbuilder.fleet.repository.survey import Model, survey
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.pylock import lock_path
from envbuilder.recipe.load import load_recipes
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import atomic_write, read_text


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchOptions:
    """The options of a patch."""

    repositories: tuple[Path, ...] = ()
    """Model repositories whose models are redeployed."""
    images: tuple[str, ...] = ()
    """Images to search: ``oci://HOST/REPOSITORY``, all of its tags, or ``oci://HOST/REPOSITORY:TAG``."""
    advisories: Path | None = None
    """A database in which to look up an id; None: the one in envbuilder.toml."""
    archives: Path = Path("envs")
    plan: bool = False
    """Report which recipes are affected, and change nothing."""
    verify: bool = True
    interpreter_change: bool = False
    """Whether another CPython may replace the locked one."""


def patch(
    said: str, session: Session, options: PatchOptions = PatchOptions(), *, verifier: Verifier | None = None
) -> list[PatchedRecipe]:
    """Patch every recipe in ``recipes/``, and every model's own, whose lock or archive is affected by *said*.

    *said* is the path of an OSV record, an advisory's id, or ``package==version``. Only affected packages are
    upgraded. An error in one recipe is reported in its row, and its lock is restored. An interrupted patch is
    resumed by running it again.

    Raises:
        RecipeError, IntegrityError: see :func:`envbuilder.fleet.patching.subject.read_subject`.
    """
    here = session.at(Path.cwd(), remote=False)
    subject = read_subject(said, options.advisories or here.settings.advisories)
    models = [
        model for one in options.repositories for model in survey(one, read_rules(Path.cwd(), one.absolute()))
    ]
    recipes, models = _recipes(models)
    scope = Scope(recipes=recipes, models=models, archives=options.archives, images=options.images)
    found = search(subject, scope, here)
    rows = {row.path: row for row in found.rows}
    holdings = {one.job.recipe.path: one for one in found.holdings}
    if options.plan:
        rows |= {path: row_of(one, "affected") for path, one in holdings.items()}
        rows |= {
            path: replace(row, state="affected") for path, row in rows.items() if row.found and row.error
        }
        return _sorted(rows)
    journal = Journal(options.archives, subject.name, options.repositories)
    jobs, kept = _relock(subject, [one for one in found.holdings if one.held], journal, here)
    rows |= kept
    jobs += _unfinished(journal, recipes, {job.recipe.path for job in jobs} | kept.keys(), here)
    again = {job.recipe.path for job in jobs} | kept.keys()
    jobs += [one.job for path, one in holdings.items() if one.outdated and path not in again]
    rows |= {path: row_of(one, "patched") for path, one in holdings.items() if path not in rows}
    served = frozenset(one.recipe.path for one in models if one.recipe is not None)
    work = Work(
        jobs=jobs,
        rows={job.recipe.path: _row_of_job(job, holdings, journal, models) for job in jobs},
        holdings={path: one for path, one in holdings.items() if one.held},
        served=served,
        output=options.archives,
        verify=options.verify,
        interpreter_change=options.interpreter_change,
    )
    built = build(work, subject, journal, found.inventories, here)
    rows |= built.rows
    rows |= {row.path: row for row in deploy_again(_done(rows), options, here, verifier)}
    for row in _done(rows):
        rows[row.path] = finish(row, holdings.get(row.path), built.left.get(row.path, ()), journal, session)
    if not any(row.state == "refused" and journal.entry(row.path) for row in rows.values()):
        journal.finish()  # otherwise the next run resumes it
    return _sorted(rows)


def _sorted(rows: Mapping[Path, PatchedRecipe]) -> list[PatchedRecipe]:
    return sorted(rows.values(), key=lambda row: (row.recipe, str(row.path)))


def _done(rows: Mapping[Path, PatchedRecipe]) -> list[PatchedRecipe]:
    return [row for row in rows.values() if row.state == "patched"]


def _recipes(models: Sequence[Model]) -> tuple[list[Recipe], list[Model]]:
    """Return each recipe once, and the models with it, however their paths are written."""
    try:
        found = load_recipes((), Path.cwd())
    except RecipeError:
        if not any(model.recipe for model in models):
            raise
        found = []
    known = {recipe.path.resolve(): recipe for recipe in found}
    same = []
    for model in models:
        if model.recipe is not None:
            recipe = known.setdefault(model.recipe.path.resolve(), model.recipe)
            model = replace(model, recipe=recipe)
        same.append(model)
    return list(known.values()), same


def row_of(holding: Holding, state: State) -> PatchedRecipe:
    """Return the row of an affected recipe."""
    outdated = tuple(
        f"{one.model.name} is deployed with {one.environment}"
        for one in holding.outdated
        if not holding.held  # otherwise all of its models are listed
    )
    return PatchedRecipe(
        recipe=label(holding.job.recipe.path),
        state=state,
        found=holding.found,
        before=holding.archive,
        aliases=tuple(one.name for one in holding.aliases),
        models=tuple(
            one.name for one in (holding.models if holding.held else [out.model for out in holding.outdated])
        ),
        images=(*(one.name for one in holding.images), *holding.layouts),
        notes=(*holding.notes, *outdated),
        path=holding.job.recipe.path,
    )


def _row_of_job(
    job: Job, holdings: Mapping[Path, Holding], journal: Journal, models: Sequence[Model]
) -> PatchedRecipe:
    """Return the row of a recipe; one that was relocked before an interruption has the changes in the journal."""
    path = job.recipe.path
    holding, entry = holdings.get(path), journal.entry(path)
    row = (
        PatchedRecipe(recipe=label(path), state="patched", path=path)
        if holding is None
        else row_of(holding, "patched")
    )
    if entry is None or (holding is not None and holding.held):
        return row
    before = Path(entry.archive) if entry.archive is not None else None
    return replace(
        row,
        found=tuple(dict.fromkeys([*entry.found, *row.found])),
        before=before if before is not None and before.is_file() else None,
        models=tuple(one.name for one in models if one.recipe is not None and one.recipe.path == path),
    )


def _relock(
    subject: Subject, holdings: Sequence[Holding], journal: Journal, session: Session
) -> tuple[list[Job], dict[Path, PatchedRecipe]]:
    """Relock each holding with newer versions of affected packages; return the jobs to build, and errors."""
    journal.note(*(_entry_of(one, journal) for one in holdings))

    jobs, kept, noted = [], {}, []
    for holding, result in zip(holdings, relock(subject, holdings, session), strict=True):
        recipe = holding.job.recipe
        entry = journal.entry(recipe.path)
        assert entry is not None
        if isinstance(result, EnvbuilderError):
            atomic_write(lock_path(recipe), entry.before.encode())
            journal.forget(recipe.path)
            kept[recipe.path] = replace(row_of(holding, "refused"), error=result)
        else:
            jobs.append(result)
            noted.append(replace(entry, after=read_text(lock_path(recipe))))
    journal.note(*noted)  # once: it holds every lock
    return jobs, kept


def _entry_of(holding: Holding, journal: Journal) -> Entry:
    """Return the journal entry of an interrupted patch, unless the lock changed since; otherwise a new entry."""
    recipe = holding.job.recipe
    text, noted = read_text(lock_path(recipe)), journal.entry(recipe.path)
    if noted is not None and text in (noted.before, noted.after):
        return noted
    return Entry(
        recipe=str(recipe.path),
        lock=str(lock_path(recipe)),
        before=text,
        found=labels_of(holding.held),
        archive=None if holding.archive is None else str(holding.archive.absolute()),
    )


def _unfinished(
    journal: Journal, recipes: Sequence[Recipe], relocked: AbstractSet[Path], session: Session
) -> list[Job]:
    """Return the jobs of recipes that this patch had relocked when it was interrupted."""
    jobs = []
    for recipe in recipes:
        entry = journal.entry(recipe.path)
        if entry is not None and recipe.path not in relocked:
            there = with_files_beside(recipe, session.at(recipe.path.parent))
            jobs.append(Job(recipe=recipe, lock=check_lock(recipe), settings=there.settings))
            if entry.after is None:
                journal.note(replace(entry, after=read_text(lock_path(recipe))))
    return jobs


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
