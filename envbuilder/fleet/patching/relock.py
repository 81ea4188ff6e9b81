"""Relock every recipe that contains the component to patch: only that package changes its version."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from envbuilder.errors import EnvbuilderError, ResolveError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.fleet.patching.holdings import Held, Holding, held_by, labels_of
from envbuilder.fleet.patching.pins import find_pins
from envbuilder.fleet.patching.rows import label
from envbuilder.fleet.patching.shared_relock import answer_of, lock_with, question_of
from envbuilder.fleet.patching.subject import Subject
from envbuilder.fleet.plan import Job
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.progress import Task
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.lock import lock_recipe
from envbuilder.store.session import Session
from envbuilder.util.text import counted


def relock(subject: Subject, holdings: Sequence[Holding], session: Session) -> list[Job | EnvbuilderError]:
    """Write a lock for each of *holdings* with newer versions of what it holds; return the jobs, or why there is none.

    Recipes that ask the same of these packages share one answer of the solver.
    """
    groups: dict[object, list[Holding]] = {}
    for holding in holdings:
        groups.setdefault(question_of(holding) or id(holding), []).append(holding)
    with session.reporter.task(
        f"Relocking {counted(len(holdings), 'recipe')}", len(holdings), "recipes"
    ) as task:
        done = _solved(subject, [group[0] for group in groups.values()], session, task)
        left = []
        for first, *others in groups.values():
            left += _followed(subject, first, done[id(first)], others, session, done) if others else []
            task.advance(sum(id(one) in done for one in others))
        done |= _solved(subject, left, session, task)
    return [done[id(holding)] for holding in holdings]


def _solved(
    subject: Subject, holdings: Sequence[Holding], session: Session, task: Task
) -> dict[int, Job | EnvbuilderError]:
    """Ask the solver for each."""

    def work(holding: Holding) -> Job | EnvbuilderError:
        try:
            return _relocked(subject, holding, session)
        except EnvbuilderError as error:
            return error

    done = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as executor:
        for holding, result in zip(holdings, executor.map(work, holdings), strict=True):
            task.advance(1)
            done[id(holding)] = result
    return done


def _followed(
    subject: Subject,
    first: Holding,
    solved: Job | EnvbuilderError,
    others: Iterable[Holding],
    session: Session,
    done: dict[int, Job | EnvbuilderError],
) -> list[Holding]:
    """Write the locks that have the same solution as *first*; return the holdings that must be solved separately."""
    others = list(others)
    if isinstance(solved, EnvbuilderError):
        return others
    there = with_files_beside(first.job.recipe, session.at(first.job.recipe.path.parent))
    try:
        answer = answer_of(first, solved.lock, there)
    except (EnvbuilderError, OSError, ValueError):
        answer = None  # the build of each one reports what is wrong
    left = []
    for holding in others:
        lock = None if answer is None else lock_with(holding, answer)
        if lock is None or _left(subject, holding, lock):
            left.append(holding)
            continue
        path = lock_path(holding.job.recipe)
        try:
            write_lock(lock, path)
            done[id(holding)] = Job(recipe=holding.job.recipe, lock=lock, settings=holding.job.settings)
        except OSError as error:
            done[id(holding)] = ResolveError(f"{path}: cannot be written: {error.strerror or error}")
    return left


def nothing_brings(held: Sequence[Held], recipe: Recipe) -> EnvbuilderError:
    """Return why no newer version of a package mends *held*."""
    name = label(recipe.path)
    if all(one.is_of_interpreter for one in held):
        hint = f"install a newer CPython, and `envbuilder lock {name} --upgrade-package python`"
    else:
        hint = f"`envbuilder sbom ARCHIVE` says where it lies; leave it out by `pack: {{exclude: [...]}}` of {name}"
    return ResolveError(f"{', '.join(labels_of(held))}: no package of the lock brings it", hint=hint)


def _left(subject: Subject, holding: Holding, lock: Lock) -> bool:
    """Whether *lock* still holds what the packages of *holding* were to be upgraded for."""
    return any(one.package in holding.packages for one in held_by(subject, lock, None))


def _relocked(subject: Subject, holding: Holding, session: Session) -> Job:
    job, recipe = holding.job, holding.job.recipe
    names = holding.packages
    if not names:
        raise nothing_brings(holding.held, recipe)
    there = session.at(recipe.path.parent)
    result = lock_recipe(recipe, there, upgrade_packages=names)
    made = Job(recipe=recipe, lock=result.lock, settings=with_files_beside(recipe, there).settings)
    if result.changed and not _left(subject, holding, result.lock):
        return made
    said = []
    for name in names:
        version = next((one.version for one in job.lock.all_artifacts if one.name == name), "")
        pins = find_pins(name, version, recipe, holding.inventory)
        said.append(
            f"{name} stays at {version}: {'; '.join(pins) or 'no index has a newer version that fixes it'}"
        )
    raise ResolveError("; ".join(said), hint="loosen the pin, or remove the package")
