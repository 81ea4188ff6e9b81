"""One answer of the solver for every recipe that asks the same of a package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from envbuilder.config.settings import Settings
from envbuilder.fleet.patching.holdings import Holding, held_by
from envbuilder.fleet.patching.shared_relock import Answer, answer_of, lock_with, question_of
from envbuilder.fleet.patching.subject import Subject
from envbuilder.fleet.plan import Job
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256
from tests.fleet.patching.conftest import lock_of, wheel, write_wheel
from tests.helpers.inventories import Package, inventory
from tests.helpers.wheels import small_recipe

BETA = Subject(name="beta==1.0", project="beta", version="1.0")
NEWER = dataclasses.replace(wheel("beta", "1.1"), sha256="5" * 64)


def holding(folder: Path, *packages: Package, name: str = "small", **recipe: Any) -> Holding:
    """Return what holds beta 1.0: a recipe whose archive has beta and *packages*."""
    every = [Package(name="beta"), *packages]
    lock = lock_of(folder, *(wheel(one.name, one.version) for one in every))
    found = inventory(*every)
    made = dataclasses.replace(small_recipe(folder, name), **recipe)
    held = held_by(BETA, lock, None)
    return Holding(job=Job(recipe=made, lock=lock, settings=Settings()), held=held, inventory=found)


def needs(name: str, *requirements: str) -> Package:
    return Package(name=name, headers=[f"Requires-Dist: {one}" for one in requirements])


def with_lock(one: Holding, **changes: Any) -> Holding:
    return dataclasses.replace(
        one, job=dataclasses.replace(one.job, lock=dataclasses.replace(one.job.lock, **changes))
    )


# -- the question ----------------------------------------------------------------------------------


def test_recipes_that_differ_in_other_packages_ask_the_same(tmp_path: Path) -> None:
    one = question_of(holding(tmp_path, Package(name="alpha"), name="one"))
    other = question_of(holding(tmp_path, Package(name="gamma"), name="other"))
    assert one is not None
    assert one == other


ELSE: dict[str, Callable[[Path], Holding]] = {
    "who needs it": lambda folder: holding(folder, needs("alpha", "beta>=1")),
    "the recipe's own requirement": lambda folder: holding(folder, dependencies=("beta<2",)),
    "prereleases": lambda folder: holding(folder, prereleases=("beta",)),
    "the torch": lambda folder: with_lock(holding(folder), torch="2.12.0"),
    "the wheel before": lambda folder: with_lock(holding(folder), artifacts=(NEWER,)),
}


@pytest.mark.parametrize("what", ELSE)
def test_recipes_that_ask_something_else(tmp_path: Path, what: str) -> None:
    asked = question_of(ELSE[what](tmp_path))
    assert asked is not None
    assert asked != question_of(holding(tmp_path))


ALONE: dict[str, Callable[[Path], Holding]] = {
    "nothing to move": lambda folder: dataclasses.replace(holding(folder), held=()),
    "no inventory": lambda folder: dataclasses.replace(holding(folder), inventory=None),
    "a wheel that was built": lambda folder: with_lock(holding(folder), built=(("beta", "sdist:1"),)),
    "an address": lambda folder: holding(folder, dependencies=("beta @ https://example.com/beta.whl",)),
    "a limit of an extra": lambda folder: holding(folder, needs("alpha", 'beta<1.1; extra == "x"')),
    "no requirement": lambda folder: holding(folder, needs("alpha", "beta ???")),
}


@pytest.mark.parametrize("what", ALONE)
def test_recipes_that_are_asked_alone(tmp_path: Path, what: str) -> None:
    assert question_of(ALONE[what](tmp_path)) is None


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_builds_of_an_index_of_their_own_are_left_to_the_solver(tmp_path: Path, name: str) -> None:
    one = holding(tmp_path, Package(name=name))
    held = held_by(Subject(name="x", project=name, version="1.0"), one.job.lock, None)
    assert question_of(dataclasses.replace(one, held=held)) is None


# -- the answer ------------------------------------------------------------------------------------


def solved(one: Holding, *wheels: Artifact) -> Lock:
    made = {artifact.name: artifact for artifact in wheels}
    lock = one.job.lock
    artifacts = tuple(made.get(artifact.name, artifact) for artifact in lock.artifacts)
    return dataclasses.replace(lock, artifacts=artifacts, tools=(("uv", "1"),))


def published(folder: Path, requires: str = "") -> tuple[Artifact, Session]:
    """Write the wheel of beta 1.1; return it, and a session that finds it."""
    write_wheel(folder / "wheels", "beta", "1.1", requires=requires)
    path = folder / "wheels" / "beta-1.1-py3-none-any.whl"
    artifact = dataclasses.replace(NEWER, sha256=file_sha256(path), size=path.stat().st_size)
    settings = Settings(find_links=(str(folder / "wheels"),), no_index=True)
    return artifact, Session(settings=settings, store=Store.open(folder / "store"))


def test_an_answer_is_the_new_wheel_and_what_it_needs(tmp_path: Path) -> None:
    newer, session = published(tmp_path, "gamma>=1")
    one = holding(tmp_path, Package(name="alpha"))
    found = answer_of(one, solved(one, newer), session)
    assert found == Answer(wheels=(newer,), tools=(("uv", "1"),), requires={"beta": ("gamma>=1",)})


def test_where_the_solver_moved_something_else_too_it_is_no_answer(tmp_path: Path) -> None:
    newer, session = published(tmp_path)
    one = holding(tmp_path, Package(name="alpha"))
    moved = solved(one, newer, dataclasses.replace(wheel("alpha", "1.1"), sha256="6" * 64))
    assert answer_of(one, moved, session) is None


def answer(requires: Sequence[str] = ()) -> Answer:
    return Answer(wheels=(NEWER,), tools=(("uv", "1"),), requires={"beta": tuple(requires)})


def test_another_recipe_takes_it_and_nothing_else_moves(tmp_path: Path) -> None:
    other = holding(tmp_path, needs("alpha", "beta>=1", "gamma; extra == 'x'"))
    assert lock_with(other, answer()) == solved(other, NEWER)


def test_who_holds_the_new_version_back_is_asked_alone(tmp_path: Path) -> None:
    assert lock_with(holding(tmp_path, needs("alpha", "beta<1.1")), answer()) is None
    assert lock_with(holding(tmp_path, dependencies=("beta==1.0",)), answer()) is None


def test_a_new_wheel_that_needs_something_else_is_left_to_the_solver(tmp_path: Path) -> None:
    assert lock_with(holding(tmp_path), answer(["gamma"])) is None
    gamma = Package(name="gamma")
    old = Package(name="beta", headers=["Requires-Dist: gamma"])
    one = holding(tmp_path, gamma)
    one = dataclasses.replace(one, inventory=inventory(old, gamma))
    assert lock_with(one, answer(["gamma>=1"])) == solved(one, NEWER)
    assert lock_with(one, answer(["gamma>=2"])) is None, "the lock has another one"
    assert lock_with(one, answer(["gamma ???"])) is None
