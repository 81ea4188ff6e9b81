from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api, errors
from envbuilder.cli.output import short
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.lock import LockResult
from tests.cli.conftest import Workspace, call
from tests.helpers.wheels import small_lock, small_recipe


def test_init_writes_a_recipe_that_loads(tmp_path: Path) -> None:
    result = call("init", "mine", "--triton", "25.06", "--torch", "2.7.1", "--cuda", "cu126")
    path = tmp_path / "recipes" / "mine.yaml"
    assert (result.stdout, result.stderr) == ("wrote recipes/mine.yaml\n", "next: envbuilder lock mine\n")
    assert load_recipe(path).torch_version == "2.7.1+cu126"

    again = call("init", "mine")
    assert (
        again.stderr == f"error: {path} already exists\n  hint: edit it, delete it, or choose another name\n"
    )
    assert again.exit_code == 2


def test_init_names_the_next_step_of_a_recipe_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "mine.yaml"
    assert call("init", path).output == f"wrote elsewhere/mine.yaml\nnext: envbuilder lock {path}\n"
    assert (
        call("init", tmp_path / "j.yaml", "--json").stdout
        == json.dumps({"recipe": str(tmp_path / "j.yaml")}, indent=1) + "\n"
    )


def test_init_leaves_no_impossible_recipe(tmp_path: Path) -> None:
    result = call("init", "mine", "--torch", "2.7.1", "--cuda", "cu130")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: torch 2.7.1 was never built for cu130")
    assert not (tmp_path / "recipes").exists()


def test_lock_check_looks_at_every_recipe(workspace: Workspace) -> None:
    folder = workspace.folder / "recipes"
    text = (folder / "small.yaml").read_text()
    (folder / "a.yaml").write_text(text)
    (folder / "z.yaml").write_text(text)
    write_lock(
        small_lock(small_recipe(folder, "z"), workspace.lock.artifacts, workspace.lock.interpreter),
        folder / "pylock.z.toml",
    )

    result = call("lock", "--check")

    assert result.stdout == (
        f"{short(folder)}/pylock.small.toml: current, 2 packages\n"
        f"  CPython {workspace.lock.interpreter.version}, torch 2.13.0+cpu, Triton pytriton-0.7.0\n"
        "  required by Triton pytriton-0.7.0: numpy<2\n"
    )
    assert result.stderr == (
        f"error: recipe a is not locked: there is no {folder}/pylock.a.toml\n  hint: envbuilder lock a\n"
        f"error: {folder}/pylock.z.toml: z.yaml changed since it was locked\n  hint: envbuilder lock z\n"
    )
    assert result.exit_code == 3

    listed = json.loads(call("lock", "--check", "--json").stdout)
    assert [entry.get("error", "current") for entry in listed] == [
        f"recipe a is not locked: there is no {folder}/pylock.a.toml",
        "current",
        f"{folder}/pylock.z.toml: z.yaml changed since it was locked",
    ]
    assert call("lock", "--check", "small").exit_code == 0


def test_lock_check_ends_with_the_first_errors_code(workspace: Workspace) -> None:
    path = workspace.folder / "recipes" / "pylock.small.toml"
    path.write_text(path.read_text().replace("alpha", "gamma"))
    (workspace.folder / "recipes" / "z.yaml").write_text(
        (workspace.folder / "recipes" / "small.yaml").read_text()
    )
    result = call("lock", "--check")
    assert result.stderr.count("error: ") == 2
    assert result.exit_code == 5


def test_lock_names_the_next_command(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    done = LockResult(
        lock=workspace.lock,
        path=Path("recipes/pylock.small.toml"),
        changed=True,
        demands=(),
        differences=(),
        wheelhouse=None,
    )
    monkeypatch.setattr(api, "lock", lambda *_, **__: done)
    assert call("lock", "small").stderr == "next: envbuilder build small\n"
    assert call("lock").stderr == "next: envbuilder build\n"
    assert call("lock", "small", "--quiet").stderr == ""


def test_lock_says_what_changed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def lock(recipe: Recipe, **options: Any) -> LockResult:
        asked.update(options)
        return LockResult(
            lock=workspace.lock,
            path=Path("recipes/pylock.small.toml"),
            changed=True,
            demands=("numpy<2",),
            differences=("alpha 0.9 -> 1.0", "beta 1.0 new"),
            wheelhouse=Path("recipes/wheelhouse"),
        )

    monkeypatch.setattr(api, "lock", lock)
    result = call("lock", "-U", "-P", "alpha", "-P", "beta", "--fetch", "--find-links", "w")
    assert result.stdout.splitlines()[2:] == [
        "  required by Triton pytriton-0.7.0: numpy<2",
        "  alpha 0.9 -> 1.0",
        "  beta 1.0 new",
        "  wheelhouse: recipes/wheelhouse",
    ]
    assert result.stdout.startswith("recipes/pylock.small.toml: written, 2 packages\n  CPython ")
    assert (asked["upgrade"], asked["upgrade_packages"], asked["fetch"]) == (True, ("alpha", "beta"), True)
    assert asked["session"].find_links == ("w",)
    assert json.loads(call("lock", "--json").stdout)[0]["differences"] == ["alpha 0.9 -> 1.0", "beta 1.0 new"]


def test_an_error_while_locking_ends_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(recipe: Recipe, **_: Any) -> LockResult:
        raise errors.ResolveError(f"{recipe.name}: nothing fits")

    (workspace.folder / "recipes" / "z.yaml").write_text(
        (workspace.folder / "recipes" / "small.yaml").read_text()
    )
    monkeypatch.setattr(api, "lock", lock)
    result = call("lock")
    assert (result.stderr, result.exit_code) == ("error: small: nothing fits\n", 4)
