"""What the tests of the verbs share: a folder and a store of their own, and a recipe with its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import CACHE_VARIABLE
from tests.helpers.small import little
from tests.helpers.wheels import small_lock, write_wheel

RECIPE = 'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\n'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def write_recipe(folder: Path, name: str, more: str = "") -> Path:
    path = folder / "recipes" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(RECIPE + more)
    return path


@pytest.fixture
def locked(tmp_path: Path, python311: Interpreter) -> Path:
    """A recipe with its lock, and the wheelhouse beside it."""
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(python311).exclude or ())
    path = write_recipe(tmp_path, "small", f"pack:\n  exclude:\n{exclude}")
    wheel = write_wheel(tmp_path / "recipes" / "wheelhouse", "alpha")
    locked = small_lock(load_recipe(path), [wheel], describe(python311))
    write_lock(locked, tmp_path / "recipes" / "pylock.small.toml")
    return path
