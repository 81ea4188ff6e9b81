"""Relocking: the package alone moves, or why it does not is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.base.interpreter import Interpreter
from envbuilder.errors import EnvbuilderError, ResolveError
from envbuilder.fleet.patching.holdings import Holding, held_by
from envbuilder.fleet.patching.relock import nothing_brings, relock
from envbuilder.fleet.patching.subject import read_subject
from envbuilder.fleet.plan import Job
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.pylock import read_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import CACHE_VARIABLE
from envbuilder.store.session import Session
from tests.fleet.patching.conftest import lock_of, wheel, write_wheel
from tests.helpers.wheels import small_recipe
from tests.helpers.workspace import Workspace, make_workspace

BETA = read_subject("beta==1.0", None)


@pytest.fixture
def locked(tmp_path: Path, python311: Interpreter, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The recipes small (alpha, beta) and pinned (beta==1.0), locked; nothing is built."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    made = make_workspace(tmp_path / "work", python311)
    monkeypatch.chdir(made.folder)
    pinned = made.recipe.with_name("pinned.yaml")
    pinned.write_text(made.recipe.read_text().replace("[alpha, beta]", "['beta==1.0']"))
    for path in (made.recipe, pinned):
        path.with_name(f"pylock.{path.stem}.toml").unlink(missing_ok=True)
        api.lock(api.load_recipe(path))
    return made


def holding(workspace: Workspace, name: str) -> Holding:
    recipe = load_recipe(workspace.recipe.with_name(f"{name}.yaml"))
    session = Session.open(workspace.recipe.parent)
    job = Job(recipe=recipe, lock=check_lock(recipe), settings=session.settings)
    return Holding(job=job, held=held_by(BETA, job.lock, None))


def versions(found: Job | EnvbuilderError) -> dict[str, str]:
    assert isinstance(found, Job)
    return {one.name: one.version for one in found.lock.artifacts}


def test_the_newer_version_goes_into_the_lock_and_a_pin_is_named(locked: Workspace) -> None:
    holdings = [holding(locked, "small"), holding(locked, "pinned")]
    before = {name: locked.lock.with_name(f"pylock.{name}.toml").read_bytes() for name in ("small", "pinned")}
    for name in ("alpha", "beta"):
        write_wheel(locked.folder / "wheels", name, "1.1")
    small, pinned = relock(BETA, holdings, Session.open(locked.folder))
    assert versions(small) == {"alpha": "1.0", "beta": "1.1", "numpy": "1.26.4", "torch": "2.13.0+cpu"}
    assert isinstance(small, Job)
    assert read_lock(locked.lock) == small.lock
    assert isinstance(pinned, ResolveError)
    assert pinned.message == "beta stays at 1.0: pinned.yaml asks beta==1.0"
    assert pinned.hint == "loosen the pin, or remove the package"
    assert locked.lock.with_name("pylock.pinned.toml").read_bytes() == before["pinned"]


def test_where_no_index_has_a_newer_one(locked: Workspace) -> None:
    (found,) = relock(BETA, [holding(locked, "small")], Session.open(locked.folder))
    assert isinstance(found, ResolveError)
    assert found.message == "beta stays at 1.0: no index has a newer version that fixes it"


def test_what_no_package_brings_is_told_by_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = small_recipe(tmp_path / "recipes")
    lock = lock_of(tmp_path, wheel("beta"))
    python = held_by(read_subject("cpython==3.11.7", None), lock, None)
    error = nothing_brings(python, recipe)
    assert error.message == "cpython 3.11.7: no package of the lock brings it"
    assert error.hint == "install a newer CPython, and `envbuilder lock small --upgrade-package python`"
    other = nothing_brings(held_by(BETA, lock, None), recipe)
    assert other.hint is not None
    assert "pack: {exclude: [...]}" in other.hint
    (found,) = relock(
        read_subject("cpython==3.11.7", None),
        [Holding(job=Job(recipe=recipe, lock=lock, settings=Session().settings), held=python)],
        Session(),
    )
    assert str(found) == str(error)
