"""Copies of a real interpreter."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

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


def check_by_every_python(files: Iterable[Path], script: str, *arguments: str) -> None:
    """Hold *files* to the grammar of Python 3.8, and run *script* by each Python here that Triton serves with.

    None of them may say an error. The grammar is asked everywhere: not every machine has a Python 3.8.
    """
    for path in files:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))
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
