"""Provide the stub for a model whose environment has another Python than the archive.

A server has one stub beside its Python backend; a stub in a model's folder takes precedence (``stub_launcher.cc``).
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from envbuilder.deployment.config import read_config
from envbuilder.deployment.lint import STUB
from envbuilder.errors import DeployError

_LIBPYTHON: Final = re.compile(r"(?:\./)?lib/libpython(3\.\d+)\.so\.1\.0")


def add_stubs(repository: Path, stubs: Mapping[str, Path], python: str) -> None:
    """Put the matching stub, if any, into each model of *repository* whose environment has another Python than
    *python*."""
    found: dict[str, str | None] = {}
    for folder in sorted(path for path in repository.iterdir() if path.is_dir()):
        try:
            environment = read_config(folder).environment
        except DeployError:
            continue  # the server reports what is wrong with it
        if environment is None or (folder / STUB).exists():
            continue
        if environment not in found:
            found[environment] = python_of(Path(environment))
        minor = found[environment]
        if minor is not None and minor != python and minor in stubs:
            shutil.copy(stubs[minor], folder / STUB)


def python_of(environment: Path) -> str | None:
    """Return the minor version of the Python in a folder or an archive; None if there is none."""
    if environment.is_dir():
        names = [f"lib/{path.name}" for path in environment.glob("lib/libpython3.*")]
        return next((match[1] for match in map(_LIBPYTHON.fullmatch, names) if match), None)
    try:
        with tarfile.open(environment) as archive:
            return next(
                (match[1] for member in archive if (match := _LIBPYTHON.fullmatch(member.name))), None
            )
    except (OSError, tarfile.TarError, EOFError):
        return None
