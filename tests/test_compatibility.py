"""The oldest and the newest that pyproject.toml allows: Python, and the direct dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from envbuilder.base.interpreter import find_interpreters
from tests.helpers.pages import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.network, pytest.mark.slow]

IMPORTS = """\
import importlib, pkgutil, sys, warnings
import envbuilder
warnings.simplefilter("error")
names = [one.name for one in pkgutil.walk_packages(envbuilder.__path__, "envbuilder.")]
names = [name for name in names if ".guest" not in name and not name.endswith((".__main__", ".bootstrap"))]
for name in names:
    if name not in sys.argv[1:]:
        importlib.import_module(name)
print(len(names))
"""
NEEDS_THE_EXTRA_CLUSTER = ("envbuilder.fleet.dask",)


MINORS = [f"3.{minor}" for minor in range(10, 15)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What uv keeps between the tests: most wheels are the same for each Python."""
    return tmp_path_factory.mktemp("uv")


def pythons() -> dict[str, Path]:
    """An interpreter of each of the minors that this machine has, the oldest first."""
    found = {minor: find_interpreters(minor)[0] for minor in MINORS}
    return {minor: some[0].executable for minor, some in found.items() if some}


def test_the_minors_are_those_that_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [one.rpartition(" ")[2] for one in project["classifiers"] if "Python :: 3." in one]
    assert declared == MINORS
    assert project["requires-python"] == f">={MINORS[0]}"


def test_the_oldest_python_works_with_the_oldest_dependencies(tmp_path: Path, cache: Path) -> None:
    works(next(iter(pythons().values())), "lowest-direct", tmp_path, cache)


def test_each_python_here_works_with_the_newest_dependencies(tmp_path: Path, cache: Path) -> None:
    found = pythons()
    assert found
    for minor, executable in found.items():
        (tmp_path / minor).mkdir()
        works(executable, "highest", tmp_path / minor, cache)


def works(python: Path, resolution: str, tmp_path: Path, cache: Path) -> None:
    """Install envbuilder into a venv of *python* by itself, import all of it, and run some commands."""
    venv = tmp_path / "venv"
    uv = [find_uv_bin(), "--quiet", "--cache-dir", str(cache)]
    subprocess.run([*uv, "venv", "--python", str(python), str(venv)], check=True)
    install = ["pip", "install", "--python", str(venv / "bin" / "python"), "--resolution", resolution]
    subprocess.run([*uv, *install, f"{ROOT}[conda,proof]"], check=True)

    env = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": ""}
    python_ = [str(venv / "bin" / "python"), "-I"]
    program = str(venv / "bin" / "envbuilder")
    imported = subprocess.run(
        [*python_, "-c", IMPORTS, *NEEDS_THE_EXTRA_CLUSTER],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(imported.stdout) > 200
    for command in (
        ["init", "small", "--triton", "25.06", "--torch", "2.7.1", "--cuda", "cpu"],
        ["lock", "--check", str(ROOT / "recipes" / "cpu.yaml")],
        ["lock", "--check", str(ROOT / "recipes" / "cuda.yaml")],
        ["size", "--help"],
    ):
        subprocess.run([program, *command], cwd=tmp_path, env=env, check=True)
