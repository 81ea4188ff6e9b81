"""The oldest and the newest that pyproject.toml allows: Python, and the direct dependencies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from envbuilder.base.interpreter import find_interpreters
from tests.helpers.pages import ROOT

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


@pytest.mark.parametrize(("which", "resolution"), [(0, "lowest-direct"), (-1, "highest")])
def test_what_is_allowed_works(tmp_path: Path, which: int, resolution: str) -> None:
    """With the oldest, and the newest, of the Pythons that this machine has."""
    here = [find_interpreters(f"3.{minor}")[0] for minor in range(10, 15)]
    found = [of_one_minor for of_one_minor in here if of_one_minor][which]
    venv = tmp_path / "venv"
    uv = [find_uv_bin(), "--quiet", "--cache-dir", str(tmp_path / "cache")]
    subprocess.run([*uv, "venv", "--python", str(found[0].executable), str(venv)], check=True)
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
