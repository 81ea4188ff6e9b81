"""Copies of a real interpreter."""

from __future__ import annotations

import shutil
from pathlib import Path

from envbuilder.base.interpreter import Interpreter


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
