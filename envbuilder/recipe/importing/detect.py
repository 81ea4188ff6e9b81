"""Which tool wrote a file: told by its content, whatever it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import CAP
from envbuilder.recipe.importing.environment_yml import read_environment
from envbuilder.recipe.importing.models import (
    read_bentofile,
    read_cog,
    read_mlmodel,
    read_python_env,
    read_truss,
)
from envbuilder.recipe.importing.pipfile import read_pipfile, read_pipfile_lock
from envbuilder.recipe.importing.poetry import read_poetry_lock
from envbuilder.recipe.importing.pylock import read_pylock
from envbuilder.recipe.importing.pyproject import read_pyproject
from envbuilder.recipe.importing.requirements import (
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
"""What a folder is imported by, the first that it has: locks before what they were made of."""


def read_import(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read a file, or the folder of a project or model, that another tool wrote.

    *groups* are extras and dependency groups of a pyproject.toml that count besides its dependencies.

    Raises:
        RecipeError: it cannot be read, or is none of the formats that are known.
    """
    if path.is_dir():
        inside = next((path / name for name in _IN_A_FOLDER if (path / name).is_file()), None)
        if inside is None:
            raise RecipeError(f"{path} contains nothing that can be imported", hint=f"expected {KNOWN}")
        path = inside
    try:
        return _reader(path, groups)(path)
    except DocumentError as error:  # a file of the user's, not a download: it is their recipe that is wrong
        raise RecipeError(error.message, hint=error.hint) from error


def _reader(path: Path, groups: Sequence[str]) -> Callable[[Path], Imported]:
    text = read_text(path)
    reader = _of_json(text) or _of_toml(path, text, groups) or _of_yaml(path, text)
    if reader is not None:
        return reader
    if is_requirements(text):
        return read_requirements
    raise RecipeError(f"{path} is not a file that can be imported", hint=f"expected {KNOWN}")


def _of_json(text: str) -> Callable[[Path], Imported] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        data = parse_json(text, where="", cap=CAP).value
    except DocumentError:
        return read_pipfile_lock if '"_meta"' in text else None  # which says what is wrong with it
    return read_pipfile_lock if {"_meta", "default"} <= data.keys() else None


def _of_toml(path: Path, text: str, groups: Sequence[str]) -> Callable[[Path], Imported] | None:
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
        return lambda path: read_pyproject(path, groups)
    return None


def _of_yaml(path: Path, text: str) -> Callable[[Path], Imported] | None:
    if not any(line.split("#")[0].rstrip().endswith(":") or ": " in line for line in text.splitlines()):
        return None
    try:
        data = plain(read_document(path))
    except RecipeError:
        if path.suffix in (".yml", ".yaml") or path.name == "MLmodel":
            raise
        return None
    return _of_mapping(data) if isinstance(data, dict) else None


def _of_mapping(data: dict[str, Any]) -> Callable[[Path], Imported] | None:
    if "flavors" in data:
        return read_mlmodel
    if isinstance(data.get("build"), dict) and data["build"].keys() & {
        "python_version",
        "python_packages",
        "python_requirements",
        "gpu",
    }:
        return read_cog
    if data.keys() & {"service", "docker"} and (isinstance(data.get("python"), dict) or "service" in data):
        return read_bentofile
    if (
        data.keys() & {"model_name", "model_class_name", "requirements", "requirements_file"}
        and "dependencies" not in data
    ):
        return read_truss
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
