"""Copies of a real interpreter."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from envbuilder.resolve.interpreter import Interpreter


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except OSError:  # another file system
        shutil.copy2(source, place)


def copy_interpreter(interpreter: Interpreter, folder: Path, *, libpython: bool = True) -> Path:
    """Copy an interpreter into *folder*, by hard links where they can be; return its program."""
    program = folder / "bin" / f"python{interpreter.minor}"
    program.parent.mkdir(parents=True)
    _link(str(interpreter.executable), str(program))
    shutil.copytree(
        interpreter.stdlib,
        folder / "lib" / interpreter.stdlib.name,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "__pycache__"),
        copy_function=_link,
    )
    shutil.copytree(interpreter.include, folder / "include" / interpreter.include.name, copy_function=_link)
    if libpython:
        for source in interpreter.libpython.parent.glob("libpython3*.so*"):
            shutil.copy2(source, folder / "lib" / source.name, follow_symlinks=False)
    return program
