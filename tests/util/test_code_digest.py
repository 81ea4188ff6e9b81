"""Which code this is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import envbuilder
from envbuilder.util.resources import runtime_file

PACKAGE = Path(envbuilder.__file__).parent
ASK = "from envbuilder.util.code_digest import code_digest; print(code_digest())"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the program, as a folder to import it from."""
    for source, name in ((PACKAGE, "envbuilder"), (runtime_file().parent, "runtime")):
        subprocess.run(["cp", "-r", "--preserve=timestamps", source, tmp_path / name], check=True)
    return tmp_path


def digest(folder: Path) -> str:
    command = [sys.executable, "-B", "-c", ASK]
    env = {"PYTHONPATH": str(folder), "PATH": os.defpath}
    return subprocess.run(command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize(
    "path",
    [
        "envbuilder/verification/static/archive.py",
        "envbuilder/verification/report.schema.json",
        "envbuilder/guest/probe.py",
        "envbuilder/new.py",
        "runtime/model.py",
        "runtime/_torch_runtime/engine.py",
        "some-1.0.dist-info",
    ],
)
def test_whatever_changes_is_other_code(copy: Path, path: str) -> None:
    before = digest(copy)
    assert digest(copy) == before
    if path.endswith(".dist-info"):
        (copy / path).mkdir()
    else:
        with (copy / path).open("a") as file:
            file.write("\n# changed\n")
    assert digest(copy) != before


def test_what_python_compiles_is_none(copy: Path) -> None:
    before = digest(copy)
    (copy / "envbuilder" / "__pycache__").mkdir(exist_ok=True)
    (copy / "envbuilder" / "__pycache__" / "x.pyc").write_bytes(b"")
    assert digest(copy) == before
