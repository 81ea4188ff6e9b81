"""What a lock's artifacts explain, as far as they are on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.archive.exclude import PackRules
from envbuilder.lockfile.model import Lock, LockedInterpreter
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.verification.origin.expected import Packing
from envbuilder.verification.origin.locked import Locked, Surroundings, account, base_label, minor_of
from envbuilder.verification.origin.memory import Memory
from tests.helpers.conda_project import Project
from tests.helpers.small import Small

NOBODY = LockedInterpreter(version="3.11.99", origin="nobody", digest="0" * 64)


def packing(small: Small) -> Packing:
    return Packing(rules=PackRules(bytecode=False, level=1, exclude=small.recipe.pack.exclude or ()))


def accounted(small: Small, lock: Lock, store: Store, *folders: Path) -> Locked:
    around = Surroundings(store=store, folders=folders, recipe=small.recipe, reporter=SILENT)
    return account(lock, packing(small), around, Memory(store=store, tools="1"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One that remembers what the interpreter contributes: no artifact gets into it."""
    return Store.open(tmp_path_factory.mktemp("store"))


def test_an_interpreter_and_wheels_that_are_here(built_small: Small, store: Store) -> None:
    found = accounted(built_small, built_small.lock, store, built_small.wheelhouse)
    assert found.unknown == ()
    assert found.base is not None
    assert found.base.label == base_label(built_small.lock)
    assert [one.label for one in found.wheels.values()] == [
        one.filename for one in built_small.lock.artifacts
    ]
    assert set(found.paths.values()) == set(built_small.wheelhouse.iterdir())
    assert "bin/activate" in {file.path for file in found.own.files}
    assert list(found.excluded) == [
        *found.base.excluded,
        *(one for wheel in found.wheels.values() for one in wheel.excluded),
    ]


def test_nothing_is_here(built_small: Small, store: Store) -> None:
    lock = dataclasses.replace(built_small.lock, interpreter=NOBODY)
    found = accounted(built_small, lock, store)
    assert (found.base, dict(found.wheels), dict(found.paths), list(found.excluded)) == (None, {}, {}, [])
    assert [(one.label, one.project) for one in found.unknown] == [
        ("alpha-1.0-py3-none-any.whl", "alpha"),
        ("beta-1.0-py3-none-any.whl", "beta"),
        ("CPython 3.11.99 (nobody, 000000000000)", None),
    ]
    assert {one.why for one in found.unknown} == {
        "it is neither in the store nor in a wheelhouse",
        "it is not on this machine",
    }
    known = accounted(built_small, built_small.lock, store, built_small.wheelhouse)
    assert found.own == known.own, "conda-pack's files are the same for every base"


def test_another_wheel_under_the_locked_name_is_passed_over(
    built_small: Small, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "wrong").mkdir()
    for path in built_small.wheelhouse.iterdir():
        (tmp_path / "wrong" / path.name).write_bytes(b"another")
    lock = dataclasses.replace(built_small.lock, interpreter=NOBODY)
    assert len(accounted(built_small, lock, store, tmp_path / "wrong", built_small.wheelhouse).wheels) == 2
    found = accounted(built_small, lock, store, tmp_path / "wrong")
    assert found.wheels == {}
    assert "wrong/alpha-1.0-py3-none-any.whl has sha256 " in found.unknown[0].why


def test_a_conda_package_that_is_not_here(conda_project: Project, store: Store, tmp_path: Path) -> None:
    lock = conda_project.lock(conda_project.recipe()).lock
    assert lock.conda is not None
    around = Surroundings(store=store, folders=(), recipe=None, reporter=SILENT)
    rules = Packing(rules=PackRules(bytecode=False, level=1, exclude=()))
    found = account(lock, rules, around, Memory(store=store, tools="1"))
    assert found.base is None
    (unknown,) = [one for one in found.unknown if one.project is None]
    assert unknown.label == f"{len(lock.conda.packages)} conda packages"
    assert unknown.why.endswith(" is neither in the store nor in a wheelhouse")
    assert list((store.root / "tmp").iterdir()) == []


def test_how_a_base_is_called(built_small: Small) -> None:
    interpreter = built_small.lock.interpreter
    assert minor_of(built_small.lock) == "3.11"
    assert base_label(built_small.lock) == (
        f"CPython {interpreter.version} ({interpreter.origin}, {interpreter.digest[:12]})"
    )
