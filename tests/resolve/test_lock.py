from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from uv import find_uv_bin

from envbuilder.base import built_in_providers
from envbuilder.base.interpreter import Interpreter
from envbuilder.cli import cli
from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, RecipeError, ResolveError, StaleLockError
from envbuilder.lockfile.check import check_lock, with_wheelhouse
from envbuilder.lockfile.compare import compare_locks
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.lockfile.pylock import NewerLockError, lock_path, read_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.resolve import lock as lock_module
from envbuilder.resolve.lock import LockResult, lock_recipe
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.session import Session
from envbuilder.util.resources import shipped_recipes
from tests.helpers.indexes import INTERPRETER, LINUX, Notes, Sources, write_recipe


@dataclass
class Bench:
    """A recipe of tiny wheels, and what locks it."""

    recipe: Recipe
    settings: Settings
    store: Store
    sources: Sources
    reporter: Notes = field(default_factory=Notes)

    @property
    def path(self) -> Path:
        return lock_path(self.recipe)

    def change(self, *dependencies: str, **options: Any) -> None:
        self.recipe = write_recipe(self.recipe.path.parent, *dependencies, **options)

    def lock(self, **options: Any) -> LockResult:
        return lock_recipe(
            self.recipe, Session(settings=self.settings, store=self.store, reporter=self.reporter), **options
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    root = tmp_path / "indexes"
    root.mkdir()
    sources = Sources(root=root)
    sources.publish("pytorch/cpu", "torch", "2.7.1+cpu", requires=["numpy"], tag=LINUX)
    for version in ("1.25.0", "1.26.4"):
        sources.publish("pypi", "numpy", version)
    sources.publish("pypi", "safetensors", "0.8.0")
    folder = tmp_path / "recipes"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    monkeypatch.setattr(built_in_providers, "find_interpreter", lambda *args, **options: None)
    monkeypatch.setattr(built_in_providers, "describe", lambda interpreter: INTERPRETER)
    return Bench(
        recipe=write_recipe(folder, "safetensors"),
        settings=sources.settings(),
        store=Store(root=tmp_path / "store"),
        sources=sources,
    )


def test_a_lock_is_written_and_then_current(bench: Bench) -> None:
    result = bench.lock()
    assert (result.changed, result.path, result.demands) == (True, bench.path, ("numpy<2",))
    assert read_lock(bench.path) == result.lock
    assert result.lock.interpreter == INTERPRETER
    assert check_lock(bench.recipe) == result.lock
    before = bench.path.stat()
    again = bench.lock()
    assert (again.changed, again.differences) == (False, ())
    after = bench.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_uv_with_the_same_answer_leaves_the_lock_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bench.lock().lock
    monkeypatch.setattr("envbuilder.resolve.wheels.uv_version", lambda: "99.0")
    assert not bench.lock().changed
    assert read_lock(bench.path) == before


def test_what_changed_is_said(bench: Bench) -> None:
    bench.lock()
    bench.change("numpy<1.26")
    assert bench.lock().differences == ("numpy 1.26.4 -> 1.25.0", "safetensors 0.8.0 gone")


# -- check -----------------------------------------------------------------------------------------


def test_check_needs_neither_solver_nor_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lock()
    shutil.rmtree(bench.sources.root)
    monkeypatch.setattr(lock_module, "resolve_wheels", None)
    assert not bench.lock(check=True).changed


def test_a_recipe_that_changed_makes_the_lock_stale(bench: Bench) -> None:
    bench.lock()
    bench.change("safetensors", more="verify: {server: false}")
    assert bench.lock(check=True).lock.recipe == "mine"
    bench.change("safetensors", "numpy")
    with pytest.raises(StaleLockError) as caught:
        bench.lock(check=True)
    assert caught.value.message == f"{bench.path}: mine.yaml changed since it was locked"
    assert (caught.value.hint, caught.value.exit_code) == ("envbuilder lock mine", 3)


def test_no_lock_is_a_stale_one(bench: Bench) -> None:
    with pytest.raises(StaleLockError) as caught:
        bench.lock(check=True)
    assert caught.value.message == f"recipe mine is not locked: there is no {bench.path}"


def test_the_lock_of_another_recipe(bench: Bench) -> None:
    bench.lock()
    bench.path.rename(bench.path.with_name("pylock.other.toml"))
    bench.change("safetensors", name="other")
    with pytest.raises(StaleLockError) as caught:
        bench.lock(check=True)
    assert caught.value.message == f"{bench.path}: is the lock of recipe mine, not of other"


def test_check_resolve_solves_again_and_compares(bench: Bench) -> None:
    bench.lock()
    before = bench.path.read_bytes()
    assert not bench.lock(check=True, resolve=True).changed
    bench.sources.publish("pypi", "safetensors", "0.8.0", requires=["numpy<1.26"])
    bench.store = Store(root=bench.store.root.parent / "store-2")
    with pytest.raises(StaleLockError) as caught:
        bench.lock(check=True, resolve=True)
    assert caught.value.message == (
        f"{bench.path}: solving again gives a different lock: "
        "numpy 1.26.4 -> 1.25.0; safetensors 0.8.0: another file, safetensors-0.8.0-py3-none-any.whl"
    )
    assert bench.path.read_bytes() == before


def test_a_local_wheel_that_changed_makes_the_lock_stale(bench: Bench) -> None:
    wheel = (
        Path(bench.sources.house("ops", "my-ops", "1.0", tag="py3-none-any")) / "my_ops-1.0-py3-none-any.whl"
    )
    bench.change(str(wheel))
    bench.lock()
    assert not bench.lock(check=True).changed
    wheel.write_bytes(wheel.read_bytes() + b" ")
    with pytest.raises(StaleLockError) as caught:
        bench.lock(check=True)
    assert caught.value.message == f"{bench.path}: my_ops-1.0-py3-none-any.whl changed since it was locked"


# -- upgrades --------------------------------------------------------------------------------------


def test_the_interpreter_is_kept_until_it_is_upgraded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lock()
    newer = LockedInterpreter(version="3.11.9", origin="host", digest="e" * 64)
    monkeypatch.setattr(built_in_providers, "describe", lambda interpreter: newer)
    assert bench.lock().lock.interpreter == INTERPRETER
    result = bench.lock(upgrade_packages=["python"])
    assert result.lock.interpreter == newer
    assert result.differences == ("python 3.11.7 (host, dddddddddddd) -> 3.11.9 (host, eeeeeeeeeeee)",)


def test_upgrade_renews_everything(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lock()
    newer = LockedInterpreter(version="3.11.9", origin="host", digest="e" * 64)
    monkeypatch.setattr(built_in_providers, "describe", lambda interpreter: newer)
    bench.sources.publish("pypi", "safetensors", "0.9.0")
    bench.store = Store(root=bench.store.root.parent / "store-2")
    result = bench.lock(upgrade=True)
    assert result.differences == (
        "safetensors 0.8.0 -> 0.9.0",
        "python 3.11.7 (host, dddddddddddd) -> 3.11.9 (host, eeeeeeeeeeee)",
    )


def test_only_what_is_locked_can_be_upgraded(bench: Bench) -> None:
    bench.lock()
    with pytest.raises(RecipeError) as caught:
        bench.lock(upgrade_packages=["safetensor"])
    assert caught.value.message == "--upgrade-package safetensor is not in pylock.mine.toml"
    assert (caught.value.hint, caught.value.exit_code) == ("did you mean safetensors?", 2)


def test_another_python_needs_another_interpreter(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lock()
    asked = []

    def find(minor: str, **options: Any) -> Interpreter | None:
        asked.append(minor)
        return None

    monkeypatch.setattr(built_in_providers, "find_interpreter", find)
    bench.lock()
    assert asked == []
    bench.sources.publish("pytorch/cpu", "torch", "2.7.1+cpu", tag="cp310-cp310-manylinux_2_28_x86_64")
    bench.change("safetensors", python="3.10")
    bench.lock()
    assert asked == ["3.10"]


# -- broken locks ----------------------------------------------------------------------------------


def test_lock_mends_what_was_edited(bench: Bench) -> None:
    good = bench.lock().lock
    bench.path.write_text(bench.path.read_text().replace("1.26.4", "1.26.5"))
    with pytest.raises(IntegrityError):
        bench.lock(check=True)
    assert bench.lock().changed
    assert read_lock(bench.path) == good
    (note,) = bench.reporter.notes
    assert note.endswith("; writing a new lock without its versions")


def test_a_lock_of_another_tool_is_not_overwritten(bench: Bench) -> None:
    theirs = 'lock-version = "1.0"\ncreated-by = "pdm"\npackages = []\n'
    bench.path.write_text(theirs)
    with pytest.raises(RecipeError, match="is a lock of pdm, not of envbuilder") as caught:
        bench.lock()
    assert "envbuilder import" in (caught.value.hint or "")
    assert bench.path.read_text() == theirs


def test_a_lock_of_a_newer_format_is_not_overwritten(bench: Bench) -> None:
    bench.lock()
    newer = bench.path.read_text().replace("format = 1", "format = 3")
    bench.path.write_text(newer)
    with pytest.raises(NewerLockError):
        bench.lock()
    assert bench.path.read_text() == newer


def test_a_refusal_leaves_the_lock_as_it_was(bench: Bench) -> None:
    bench.lock()
    before = bench.path.read_bytes()
    bench.change("nope")
    with pytest.raises(ResolveError):
        bench.lock()
    assert bench.path.read_bytes() == before
    assert {entry.name for entry in bench.path.parent.iterdir()} == {"mine.yaml", "pylock.mine.toml"}


def test_a_folder_that_cannot_be_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("envbuilder.lockfile.pylock.atomic_write", refuse)
    with pytest.raises(ResolveError) as caught:
        bench.lock()
    assert caught.value.message == f"{bench.path}: cannot be written: Permission denied"


# -- wheelhouse ------------------------------------------------------------------------------------


def installed(folder: Path, lock: Path) -> set[str]:
    """Install *lock* as another tool would, with no index, and return what is there."""
    command = [find_uv_bin(), "pip", "install", "--no-index", "--offline", "--no-config", "--quiet"]
    command += ["--python", shutil.which("python3.11") or sys.executable, "--target", str(folder / "target")]
    command += ["--cache-dir", str(folder / "cache"), "-r", str(lock)]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]}, cwd=folder)
    return {entry.name for entry in (folder / "target").iterdir()}


def test_fetch_fills_a_wheelhouse_that_any_installer_takes(bench: Bench, tmp_path: Path) -> None:
    result = bench.lock(fetch=True)
    assert result.wheelhouse == bench.path.parent / "wheelhouse"
    names = {artifact.filename for artifact in result.lock.artifacts}
    assert {entry.name for entry in result.wheelhouse.iterdir()} == names
    shutil.rmtree(bench.sources.root)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(bench.path.parent, elsewhere)
    found = installed(tmp_path, elsewhere / bench.path.name)
    assert {"torch.py", "numpy.py", "safetensors.py", "torch-2.7.1+cpu.dist-info"} <= found


def test_what_is_excluded_is_not_locked_whoever_requires_it(bench: Bench) -> None:
    bench.sources.publish("pypi", "vision", "1.0")
    bench.sources.publish("pypi", "augment", "1.0", requires=["vision", "safetensors"])
    bench.change("augment")
    assert {"augment", "vision"} < {one.name for one in bench.lock().lock.artifacts}
    bench.change("augment", more="exclude-dependencies: [Vision]")
    left = {one.name for one in bench.lock().lock.artifacts}
    assert left >= {"augment", "safetensors"}
    assert "vision" not in left


def test_a_filled_wheelhouse_does_not_hold_an_upgrade_back(bench: Bench) -> None:
    bench.lock(fetch=True)
    bench.sources.publish("pypi", "safetensors", "0.9.0")
    bench.store = Store(root=bench.store.root.parent / "store-2")
    assert bench.lock(upgrade=True).differences == ("safetensors 0.8.0 -> 0.9.0",)


def test_what_no_index_has_is_kept_beside_the_lock(bench: Bench) -> None:
    bench.sources.publish_sdist("pypi", "bare", "1.0")
    house = Path(bench.sources.house("ops", "my-ops", "1.0", tag="py3-none-any"))
    bench.change("bare", str(house / "my_ops-1.0-py3-none-any.whl"), more="build-from-source: [bare]")
    bench.lock()
    folder = bench.path.parent / "wheelhouse"
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "bare-1.0-py3-none-any.whl",
        "my_ops-1.0-py3-none-any.whl",
    ]
    assert bench.reporter.notes == [
        "no index has bare-1.0-py3-none-any.whl, my_ops-1.0-py3-none-any.whl: "
        f"kept in {folder}, copy it to other machines"
    ]
    assert with_wheelhouse(bench.recipe, bench.settings).find_links == (str(folder), str(house))


# -- the real ones ---------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_solving_the_recipes_that_come_along_again_gives_their_locks(
    name: str, settings: Settings, store: Store
) -> None:
    recipe = load_recipe(shipped_recipes() / f"{name}.yaml")
    result = lock_recipe(recipe, Session(settings=settings, store=store), check=True, resolve=True)
    assert not result.changed


@pytest.mark.network
@pytest.mark.slow
def test_the_real_lock_fills_a_wheelhouse_and_installs(
    tmp_path: Path, settings: Settings, store: Store
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name in ("cpu.yaml", "pylock.cpu.toml"):
        shutil.copy(shipped_recipes() / name, folder)
    recipe = load_recipe(folder / "cpu.yaml")
    lock_recipe(recipe, Session(settings=settings, store=store), check=True, fetch=True)
    found = installed(tmp_path, lock_path(recipe))
    assert {"torch", "numpy", "safetensors", "torch-2.13.0+cpu.dist-info"} <= found


def test_locks_are_compared_by_what_they_lead_to(bench: Bench) -> None:
    lock = bench.lock().lock
    assert compare_locks(lock, lock) == ()


# -- the command line ------------------------------------------------------------------------------


def run_lock(bench: Bench, *args: str) -> tuple[int, str]:
    """Run ``envbuilder lock`` on the bench's recipe, and return its exit code and what it said on stderr."""
    env = {
        "PIP_INDEX_URL": bench.settings.index_url,
        "PIP_CONFIG_FILE": os.devnull,
        "ENVBUILDER_PYTORCH_INDEX": bench.settings.pytorch_index,
        CACHE_VARIABLE: str(bench.store.root),
        **dict.fromkeys(("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_INDEX_URL", "PIP_EXTRA_INDEX_URL")),
    }
    result = CliRunner().invoke(cli, ["lock", str(bench.recipe.path), *args, "--quiet"], env=env)
    return result.exit_code, result.stderr


def test_exit_codes_and_what_is_said(bench: Bench) -> None:
    assert run_lock(bench) == (0, "")
    assert run_lock(bench, "--check") == (0, "")

    bench.change("numpy")
    assert run_lock(bench, "--check") == (
        3,
        f"error: {bench.path}: mine.yaml changed since it was locked\n  hint: envbuilder lock mine\n",
    )
    bench.change("numpy>=2")
    assert run_lock(bench) == (
        4,
        "error: recipe mine: no set of packages satisfies it:\n"
        "  Because the recipe depends on numpy>=2 and numpy<2, we can conclude that your requirements are "
        "unsatisfiable.\n"
        "  hint: numpy<2 is required by Triton pytriton-0.7.0\n",
    )
    bench.path.write_text(bench.path.read_text().replace("1.26.4", "1.26.5"))
    code, said = run_lock(bench, "--check")
    assert (code, said.splitlines()[0]) == (5, f"error: {bench.path}: was changed after it was written")

    bench.recipe.path.write_text('triton: "25.06"\ntorch: "2.7.1"\ncuda: cu126\ndependancies: []\n')
    code, said = run_lock(bench)
    assert (code, said.splitlines()[0]) == (
        2,
        f"error: {bench.recipe.path}:4: unknown key `dependancies`, did you mean `dependencies`?",
    )


def test_two_at_once(bench: Bench) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda number: bench.lock(fetch=True), range(2))
    assert one.lock == other.lock == read_lock(bench.path)
    assert {entry.name for entry in bench.path.parent.iterdir()} == {
        "mine.yaml",
        "pylock.mine.toml",
        "wheelhouse",
    }
