"""The Python part of BentoML's ``bentofile.yaml``, and conda's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from envbuilder.recipe.importing.documents import Document, inner, read_yaml, shown_value, texts
from envbuilder.recipe.importing.environment_yml import Environment, read_environment
from envbuilder.recipe.importing.models import SYSTEM, included, line_of, lines_of, other_keys
from envbuilder.recipe.importing.remark import Remark, SourceLine
from envbuilder.recipe.importing.requirements import read_pip_lines
from envbuilder.recipe.importing.wanted import Imported, Wanted
from envbuilder.util.documents import Record

_PYTHON: Final = frozenset(
    {
        *("packages", "requirements_txt", "index_url", "extra_index_url", "trusted_host", "find_links"),
        *("no_index", "pip_args", "wheels", "lock_packages"),
    }
)
_CONDA: Final = ("channels", "dependencies", "pip")
_CUDA: Final = "the CUDA of the image; torch from pip contains its own: choose another build with --cuda"


def read_bentofile(path: Path) -> Imported:
    """Read the Python part of a ``bentofile.yaml``.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    root = document.root
    python = inner(root, "python")
    lines = _python_lines(document, python) if python is not None else []
    environment, conda_remarks = _conda(document, inner(root, "conda"))
    wanted = read_pip_lines([*(environment.pip if environment is not None else ()), *lines], path.parent)
    wanted.remarks += conda_remarks
    if python is not None:
        _rest_of_python(document, python, wanted)
    docker = inner(root, "docker")
    version = None
    if docker is not None:
        _docker(document, docker, wanted)
        if "python_version" in docker:
            version = document.key(shown_value(docker, "python_version"), "python_version")
    other_keys(document, root, wanted, {"python", "docker", "conda", "name"})
    return Imported(
        path=path,
        kind="a bentofile.yaml",
        name=shown_value(root, "name") if "name" in root else path.resolve().parent.name,
        wanted=wanted,
        python=version,
        conda=environment,
    )


def _python_lines(document: Document, python: Record) -> list[SourceLine]:
    """Return the packages for pip as lines of a requirements file."""
    lines: list[SourceLine] = []  # options first: BentoML passes them to pip before the files
    for key, option in (
        ("index_url", "--index-url"),
        ("extra_index_url", "--extra-index-url"),
        ("trusted_host", "--trusted-host"),
        ("find_links", "--find-links"),
    ):
        lines += [line_of(document, f"{option} {value}", value) for value in texts(python, key)]
    lines += [
        line_of(document, wheel if "/" in wheel else f"./{wheel}", wheel) for wheel in texts(python, "wheels")
    ]
    if "no_index" in python and python.boolean("no_index"):
        lines.append(line_of(document, "--no-index", "no_index"))
    for arguments in texts(python, "pip_args"):
        lines += [line_of(document, line, "pip_args") for line in _options(arguments)]
    lines += lines_of(document, python, "packages")
    if "requirements_txt" in python:
        lines.append(included(document, python.text("requirements_txt")))
    return lines


def _rest_of_python(document: Document, python: Record, wanted: Wanted) -> None:
    for key in python.value:
        line = document.key(key, key)
        if key == "lock_packages" and key in python:
            line = document.key(f"lock_packages: {shown_value(python, key)}", key)
            wanted.remarks.append(line.left_out("a recipe is always locked"))
        elif key not in _PYTHON:
            wanted.remarks.append(line.left_out("how BentoML packs, not what it installs"))


def _docker(document: Document, docker: Record, wanted: Wanted) -> None:
    for key in docker.value:
        if key == "system_packages":
            wanted.remarks += [document.locate(text).left_out(SYSTEM) for text in texts(docker, key)]
        elif key == "cuda_version" and key in docker:
            line = document.key(f"cuda_version: {shown_value(docker, key)}", key)
            wanted.remarks.append(line.left_out(_CUDA))
        elif key != "python_version":
            wanted.remarks.append(document.key(f"docker: {key}", key).left_out("part of the image"))


def _conda(document: Document, conda: Record | None) -> tuple[Environment | None, list[Remark]]:
    """Return the packages for conda, from a file or the document itself."""
    remarks: list[Remark] = []
    if conda is None:
        return None, remarks
    path = document.path
    environment = None
    if "environment_yml" in conda:
        name = conda.text("environment_yml")
        line = document.key(f"conda: environment_yml: {name}", "environment_yml")
        if (path.parent / name).is_file():
            environment = read_environment(path.parent / name)
            remarks.append(line.changed("its lines are in the recipe"))
        else:
            remarks.append(line.left_out(f"there is no file {path.parent / name}"))
    counts = environment is not None
    for key in conda.value:
        if key in _CONDA and counts:
            line = document.key(f"conda: {key}", key)
            remarks.append(line.left_out("BentoML takes environment_yml, not this"))
        elif key not in (*_CONDA, "environment_yml"):
            remarks.append(document.key(f"conda: {key}", key).left_out("how BentoML packs"))
    if environment is None and any(key in conda for key in _CONDA):
        environment = _inline(document, conda)
    return environment, remarks


def _inline(document: Document, conda: Record) -> Environment:
    values = conda.value.get("dependencies")
    specs, pip = [], [document.locate(text) for text in texts(conda, "pip")]
    for number, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, dict):
            inside = Record(value, conda.where, conda, f"dependencies[{number}]")
            pip += [document.locate(text) for text in texts(inside, "pip")]
        elif isinstance(value, str):
            specs.append(document.locate(value))
        else:
            conda.fail(f"dependencies[{number}]", "expected a match spec, or pip: and a list")
    if values is not None and not isinstance(values, list):
        conda.expected("dependencies", "a list")
    return Environment(
        path=document.path,
        name=document.path.stem,
        channels=tuple(document.locate(text) for text in texts(conda, "channels")),
        specs=tuple(specs),
        pip=tuple(pip),
        remarks=(),
    )


def _options(line: str) -> list[str]:
    """Return the options in a line of pip's arguments, each with its values."""
    return [f"-{one}".strip() for one in re.split(r"(?:^|\s)-(?=[-a-zA-Z])", line) if one.strip()]
