from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.lockfile.compare import compare_locks
from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from tests.helpers.wheels import filename, small_lock, small_recipe


def artifact(name: str, version: str = "1.0", sha256: str = "1" * 64) -> Artifact:
    return Artifact(name=name, version=version, filename=filename(name, version), sha256=sha256, size=1)


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    interpreter = LockedInterpreter(version="3.11.7", origin="host", digest="a" * 64)
    return small_lock(small_recipe(tmp_path), [artifact("a"), artifact("b"), artifact("c")], interpreter)


def test_what_became_of_each_artifact(lock: Lock) -> None:
    new = (artifact("a", "2.0"), artifact("c", sha256="2" * 64), artifact("d"))
    assert compare_locks(lock, replace(lock, artifacts=new)) == (
        "a 1.0 -> 2.0",
        "b 1.0 gone",
        "c 1.0: another file, c-1.0-py3-none-any.whl",
        "d 1.0 new",
    )


def test_another_interpreter(lock: Lock) -> None:
    new = replace(lock, interpreter=LockedInterpreter(version="3.11.9", origin="uv:1", digest="b" * 64))
    assert compare_locks(lock, new) == (f"python 3.11.7 (host, {'a' * 12}) -> 3.11.9 (uv:1, {'b' * 12})",)


def test_what_else_the_recipe_says_only_where_nothing_came_of_it(lock: Lock) -> None:
    assert compare_locks(lock, replace(lock, recipe_digest="c" * 64)) == ("recipe digest changed",)
    assert compare_locks(lock, replace(lock, recipe_digest="c" * 64, artifacts=())) != (
        "recipe digest changed",
    )
    assert compare_locks(lock, replace(lock, tools=(("uv", "1"),))) == ()
