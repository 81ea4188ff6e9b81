"""The two providers that come along: what each locks, and what each opens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.base.built_in_providers import CondaProvider, CPythonProvider
from envbuilder.base.conda import CondaBase
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.errors import IntegrityError
from envbuilder.lockfile.model import Lock, LockedConda, LockedInterpreter
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.conda_parts import fake_cut, numpy_cut
from tests.helpers.conda_project import Project
from tests.helpers.wheels import small_lock, small_recipe

ELSEWHERE = LockedInterpreter(version="3.11.99", origin="host", digest="9" * 64)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(tmp_path)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(store=Store.open(tmp_path / "store"))


def locks(recipe: Recipe, session: Session, previous: Lock | None, *upgraded: str) -> LockedInterpreter:
    upgrade = Upgrade(packages=upgraded)
    locked = CPythonProvider().lock(recipe, session, previous=previous, upgrade=upgrade)
    assert (locked.packages, locked.provided) == ((), {})
    return locked.interpreter


def test_cpython_stays_as_it_was_locked_though_this_machine_has_another(
    recipe: Recipe, session: Session
) -> None:
    previous = small_lock(recipe, [], ELSEWHERE)
    assert locks(recipe, session, previous) == ELSEWHERE
    assert locks(recipe, session, previous, "numpy") == ELSEWHERE


def test_cpython_of_this_machine_where_none_is_kept(
    recipe: Recipe, session: Session, python311: Interpreter
) -> None:
    here = describe(python311)
    previous = small_lock(recipe, [], ELSEWHERE)
    assert locks(recipe, session, None) == here
    assert locks(recipe, session, previous, "python") == here
    assert locks(recipe, session, dataclasses.replace(previous, python="3.12")) == here
    conda = dataclasses.replace(ELSEWHERE, origin="conda:python-3.11.99-0.conda")
    assert locks(recipe, session, dataclasses.replace(previous, interpreter=conda)) == here


def test_cpython_is_opened_as_it_was_locked_or_changed_on_request(
    recipe: Recipe, session: Session, python311: Interpreter
) -> None:
    provider = CPythonProvider()
    lock = small_lock(recipe, [], describe(python311))
    with provider.open(recipe, lock, session, change=False) as base:
        assert (base.interpreter, base.version) == (lock.interpreter, python311.version)
    other = small_lock(recipe, [], ELSEWHERE)
    with (
        pytest.raises(IntegrityError, match=r"3\.11\.99"),
        provider.open(recipe, other, session, change=False),
    ):
        pass
    with provider.open(recipe, other, session, change=True) as base:
        assert base.interpreter == lock.interpreter


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


def test_conda_locks_packages_the_interpreter_and_the_projects_in_them(project: Project) -> None:
    project.publish(numpy_cut(), fake_cut("tool"))
    recipe = project.recipe(conda=["numpy", "tool"])
    session = Session(settings=project.settings, store=project.store)
    provider = CondaProvider()
    locked = provider.lock(recipe, session, previous=None, upgrade=Upgrade())
    found = {package.name: package for package in locked.packages}
    assert {"python", "numpy", "tool"} <= set(found)
    assert locked.interpreter.origin == f"conda:{found['python'].filename}"
    assert locked.interpreter.digest == found["python"].sha256
    assert list(locked.provided) == ["numpy"]

    conda = LockedConda(packages=locked.packages, provides=(("numpy", "1.26.4"),))
    lock = dataclasses.replace(small_lock(recipe, [], locked.interpreter), conda=conda)
    project.publish(fake_cut("tool", "1.1"))
    for upgrade, version in ((Upgrade(), "1.0"), (Upgrade(packages=("tool",)), "1.1")):
        again = provider.lock(recipe, session, previous=lock, upgrade=upgrade)
        assert [one.version for one in again.packages if one.name == "tool"] == [version]

    with provider.open(recipe, lock, session, change=False) as base:
        assert isinstance(base, CondaBase)
        assert (base.interpreter, base.packages) == (locked.interpreter, locked.packages)
        assert [one.name for one in base.fetch()] == [one.name for one in locked.packages]
    assert list((project.store.root / "tmp").iterdir()) == []
