"""Copies of a real interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter, find_interpreters


def copy_interpreter(interpreter: Interpreter, folder: Path, *, libpython: bool = True) -> Path:
    """Copy an interpreter into *folder*; return its program."""
    program = folder / "bin" / f"python{interpreter.minor}"
    program.parent.mkdir(parents=True)
    shutil.copy2(interpreter.executable, program)
    shutil.copytree(
        interpreter.stdlib,
        folder / "lib" / interpreter.stdlib.name,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "__pycache__"),
    )
    shutil.copytree(interpreter.include, folder / "include" / interpreter.include.name)
    if libpython:
        for source in interpreter.libpython.parent.glob("libpython3*.so*"):
            shutil.copy2(source, folder / "lib" / source.name, follow_symlinks=False)
    return program


def errors_of_every_python(script: str, *arguments: str) -> None:
    """Run *script* by each Python that Triton serves with, 3.8 and later: none of them may say an error.

    Where this machine has none of the oldest, which is the one that refuses, the test is shown as skipped.
    """
    errors, missing = {}, {}
    for minor in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13"):
        found, refused = find_interpreters(minor)
        if not found:
            missing[minor] = refused
            continue
        command = [str(found[0].executable), "-I", "-B", "-c", script, *arguments]
        errors[minor] = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert errors
    assert {minor: error for minor, error in errors.items() if error} == {}
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    assert [minor for minor in missing if any(root.glob(f"{minor}.*"))] == [], missing
    if "3.8" in missing:
        pytest.skip(f"right by {', '.join(errors)}; this machine has no Python 3.8")
