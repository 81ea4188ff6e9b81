"""The runtime's files in a deployment: the one that Triton loads, and the folder of its modules beside it."""

from __future__ import annotations

import re
from pathlib import Path

from envbuilder.deployment.config import RUNTIME_FILE
from envbuilder.util.files import has_bytes, read_regular
from envbuilder.util.resources import runtime_file, runtime_package

RUNTIME_FOLDER = "_torch_runtime"
"""The folder of its modules, in every layout."""
_MOST = 2**20
"""Largest file of that name that is read, in bytes: no runtime's first file was larger."""
PYCACHE = "__pycache__"
"""Python's bytecode folder, which appears once a server has loaded the modules."""
_IN_VERSION = re.compile(rf"[0-9]+/({re.escape(RUNTIME_FILE)}|{RUNTIME_FOLDER}/.*)")


def runtime_files(name: str) -> dict[str, Path]:
    """Return the runtime's files by their paths in a folder where Triton loads the file *name*."""
    return {name: runtime_file(), **runtime_package()}


def is_runtime_file(path: str) -> bool:
    """Whether *path*, relative to a model's folder, is the runtime's, of this envbuilder or of an older one."""
    return _IN_VERSION.fullmatch(path) is not None


def is_runtime(file: Path) -> bool:
    """Whether *file* is the runtime that Triton loads, of this envbuilder."""
    return file.is_file() and has_bytes(file, runtime_file().read_bytes())


def foreign_name(version: Path) -> str | None:
    """Return a file of a version folder that has a name of the runtime's files and is not one of them, if any."""
    file, folder = version / RUNTIME_FILE, version / RUNTIME_FOLDER
    if file.exists() and (not file.is_file() or b"TritonPythonModel" not in read_regular(file, most=_MOST)):
        return RUNTIME_FILE
    if folder.exists() and not (folder / "engine.py").is_file():
        return RUNTIME_FOLDER
    return None
