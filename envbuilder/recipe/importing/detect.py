"""Detect which tool wrote a file, from its content, whatever its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.bentofile import read_bentofile
from envbuilder.recipe.importing.documents import CAP
from envbuilder.recipe.importing.environment_yml import read_environment
from envbuilder.recipe.importing.models import (
    read_cog,
    read_mlmodel,
    read_python_env,
    read_truss,
)
from envbuilder.recipe.importing.pipfile import read_pipfile, read_pipfile_lock
from envbuilder.recipe.importing.poetry_lock import read_poetry_lock
from envbuilder.recipe.importing.pylock import read_pylock
from envbuilder.recipe.importing.pyproject import read_pyproject
from envbuilder.recipe.importing.requirements import (
    first_unread,
    is_requirements,
    read_pip_lines,
    read_requirements,
    read_text,
)
from envbuilder.recipe.importing.uv_lock import read_uv_lock
from envbuilder.recipe.importing.wanted import Imported
from envbuilder.util.documents import DocumentError, parse_json, parse_toml
from envbuilder.util.yaml import plain, read_document

KNOWN: Final = (
    "a conda environment file, requirements.txt, pyproject.toml (PEP 621, uv, Poetry), uv.lock, poetry.lock, Pipfile, "
    "Pipfile.lock, pylock.toml, an MLflow model, bentofile.yaml, cog.yaml, or a truss's config.yaml"
)
_IN_A_FOLDER: Final = (
    "MLmodel",
    "uv.lock",
    "poetry.lock",
    "pylock.toml",
    "Pipfile.lock",
    "pyproject.toml",
    "Pipfile",
    "requirements.txt",
    "environment.yml",
    "environment.yaml",
    "conda.yaml",
    "bentofile.yaml",
    "cog.yaml",
    "config.yaml",
)
"""Files of a folder by priority: locks before their sources."""


_OF_COG: Final = frozenset({"python_version", "python_packages", "python_requirements", "gpu"})
_Read = Callable[[Path, Sequence[str]], Imported]
"""Reads a file, with the selected groups."""


def read_import(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read a file, or the folder of a project or model, that another tool wrote.

    *groups* are extras, dependency groups and categories of a project or a lock to include besides its dependencies.

    Raises:
        RecipeError: it cannot be read, has no known format, or no such group.
    """
    if path.is_dir():
        inside = next((path / name for name in _IN_A_FOLDER if (path / name).is_file()), None)
        if inside is None:
            raise RecipeError(f"{path} contains nothing that can be imported", hint=f"expected {KNOWN}")
        path = inside
    try:
        return _reader(path)(path, groups)
    except DocumentError as error:  # a file of the user's, not a download: it is their recipe that is wrong
        raise RecipeError(error.message, hint=error.hint) from error


def _reader(path: Path) -> _Read:
    text = read_text(path)
    reader = _of_json(text) or _of_toml(path, text) or _of_yaml(path, text)
    if reader is not None:
        return reader
    if is_requirements(text):
        return _without_groups(read_requirements)
    unread = first_unread(text)
    why = f": {unread}" if unread else ""
    raise RecipeError(f"{path} is not a file that can be imported{why}", hint=f"expected {KNOWN}")


def _without_groups(read: Callable[[Path], Imported]) -> _Read:
    """Wrap the reader of a format that has neither extras nor groups, for which naming one is an error."""

    def act(path: Path, groups: Sequence[str]) -> Imported:
        found = read(path)
        if groups:
            raise RecipeError(
                f"{path} has no group or extra {groups[0]!r}: {found.kind} has none at all",
                hint="--group is for pyproject.toml, Pipfile and their locks",
            )
        return found

    return act


def _of_json(text: str) -> _Read | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        data = parse_json(text, where="", cap=CAP).value
    except DocumentError:
        return read_pipfile_lock if '"_meta"' in text else None  # which says what is wrong with it
    return read_pipfile_lock if {"_meta", "default"} <= data.keys() else None


def _of_toml(path: Path, text: str) -> _Read | None:
    try:
        data = parse_toml(text.encode(), where="", cap=CAP).value
    except DocumentError as error:
        if path.suffix == ".toml":
            raise RecipeError(f"{path} {error.reason}") from error
        return None
    if "lock-version" in data and "packages" in data:
        return read_pylock
    if isinstance(data.get("package"), list):
        return read_poetry_lock if "metadata" in data else read_uv_lock
    if data.keys() & {"packages", "dev-packages"}:
        return read_pipfile
    if data.keys() & {"project", "tool", "dependency-groups", "build-system"}:
        return read_pyproject
    return None


def _of_yaml(path: Path, text: str) -> _Read | None:
    if not any(line.split("#")[0].rstrip().endswith(":") or ": " in line for line in text.splitlines()):
        return None
    try:
        data = plain(read_document(path))
    except RecipeError:
        if path.suffix in (".yml", ".yaml") or path.name == "MLmodel":
            raise
        return None
    reader = _of_mapping(data) if isinstance(data, dict) else None
    return None if reader is None else _without_groups(reader)


def _of_mapping(data: dict[str, Any]) -> Callable[[Path], Imported] | None:
    if "flavors" in data:
        return read_mlmodel
    build = data.get("build")
    if isinstance(build, dict) and (build.keys() & _OF_COG or "predict" in data):
        return read_cog
    if "service" in data or any(isinstance(data.get(key), dict) for key in ("python", "conda")):
        return read_bentofile
    keys = {"model_name", "model_class_name", "requirements", "requirements_file"}
    is_truss = data.keys() & keys or re.fullmatch(r"py3\d+", str(data.get("python_version", "")))
    if is_truss and "dependencies" not in data:
        return lambda path: read_truss(path, read_import)
    if "python" in data and "dependencies" in data and "channels" not in data:
        return read_python_env
    return _conda if data.keys() & {"dependencies", "channels"} else None


def _conda(path: Path) -> Imported:
    environment = read_environment(path)
    return Imported(
        path=path,
        kind="a conda environment file",
        name=environment.name,
        wanted=read_pip_lines(environment.pip, path.parent),
        conda=environment,
    )
