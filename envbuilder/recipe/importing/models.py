"""The Python environments of other serving tools: MLflow models, cog and truss."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, inner, read_yaml, shown_value, texts
from envbuilder.recipe.importing.environment_yml import read_environment
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirements import read_pip_lines, read_requirements
from envbuilder.recipe.importing.wanted import Imported, Wanted
from envbuilder.util.documents import Record

SYSTEM: Final = "a package of the image, not of the environment: the server's image must have it"
_IMAGE: Final = "part of the image: the wheels contain their own"
_COMMAND: Final = "a command of an image's build"


def read_mlmodel(path: Path) -> Imported:
    """Read the environment of the MLflow model whose ``MLmodel`` is *path*: python_env.yaml, or else conda.yaml.

    Raises:
        RecipeError: it names no environment, or that cannot be read.
    """
    document = read_yaml(path)
    function = inner(document.root, "flavors", "python_function")
    files: dict[str, str] = {}
    if function is not None and "env" in function:
        named = function.value["env"]
        if isinstance(named, dict):
            env = function.record("env")
            files = {kind: env.text(kind) for kind in ("virtualenv", "conda") if kind in env}
        else:
            files = {"conda": function.text("env")}
    for kind, reader in (("virtualenv", read_python_env), ("conda", _conda)):
        name = files.get(kind)
        if name is None or not (path.parent / name).is_file():
            continue
        found = reader(path.parent / name)
        other = files.get("conda")
        if kind == "virtualenv" and other is not None:
            why = f"{name} describes the environment; import {other} itself to use that one"
            found.wanted.remarks.append(document.locate(f"conda: {other}").left_out(why))
        other_keys(document, document.root, found.wanted, {"flavors"})
        return replace(found, path=path, kind="an MLflow model", name=path.resolve().parent.name)
    raise RecipeError(
        f"{path} names no environment file next to it (flavors.python_function.env)",
        hint="MLflow writes python_env.yaml and conda.yaml beside MLmodel: take the model's whole folder",
    )


def read_python_env(path: Path) -> Imported:
    """Read MLflow's ``python_env.yaml``.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    root = document.root
    wanted = read_pip_lines(lines_of(document, root, "dependencies"), path.parent)
    for text in texts(root, "build_dependencies"):
        wanted.remarks.append(document.locate(text).left_out("needed by builds, not by the model"))
    other_keys(document, root, wanted, {"dependencies", "build_dependencies", "python"})
    return Imported(
        path=path,
        kind="MLflow's python_env.yaml",
        name=path.resolve().parent.name,
        wanted=wanted,
        python=document.key(shown_value(root, "python"), "python") if "python" in root else None,
    )


def _conda(path: Path) -> Imported:
    environment = read_environment(path)
    wanted = read_pip_lines(environment.pip, path.parent)
    return Imported(path=path, kind="a conda file", name=environment.name, wanted=wanted, conda=environment)


def read_cog(path: Path) -> Imported:
    """Read the ``build`` part of a ``cog.yaml``.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    build = document.root.record("build")
    lines = lines_of(document, build, "python_packages")
    if "python_requirements" in build:
        lines.append(included(document, build.text("python_requirements")))
    wanted = read_pip_lines(lines, path.parent)
    cpu = "gpu" in build and build.value["gpu"] is False
    for key in build.value:
        if key == "system_packages":
            wanted.remarks += [document.locate(text).left_out(SYSTEM) for text in texts(build, key)]
        elif key in ("run", "pre_install"):
            wanted.remarks += [document.locate(text).left_out(_COMMAND) for text in _commands(build, key)]
        elif key in ("gpu", "cudnn") and key in build:
            if key == "cudnn" or not cpu or "cuda" in build:
                line = document.key(f"{key}: {shown_value(build, key)}", key)
                wanted.remarks.append(line.left_out(_IMAGE))
        elif key not in ("python_packages", "python_requirements", "python_version", "cuda"):
            line = document.key(f"build: {key}", key)
            wanted.remarks.append(line.left_out("how cog builds an image, not what it installs"))
    other_keys(document, document.root, wanted, {"build"})
    cuda = document.key("cpu", "gpu") if cpu else None
    if "cuda" in build:
        cuda = document.key(shown_value(build, "cuda"), "cuda")
    return Imported(
        path=path,
        kind="a cog.yaml",
        name=path.resolve().parent.name,
        wanted=wanted,
        python=document.key(shown_value(build, "python_version"), "python_version")
        if "python_version" in build
        else None,
        cuda=cuda,
    )


def _commands(build: Record, key: str) -> list[str]:
    """Return commands, given as texts or as tables with a command."""
    value = build.value[key]
    if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
        return [*texts(build, key)]
    found = []
    for number, item in enumerate(value):
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            found.append(Record(item, build.where, build, f"{key}[{number}]").free_text("command"))
        else:
            build.fail(f"{key}[{number}]", "expected a command")
    return found


def read_truss(path: Path, read: Callable[[Path], Imported]) -> Imported:
    """Read the Python part of a truss's ``config.yaml``; *read* reads what its ``requirements_file`` names.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    root = document.root
    wanted = read_pip_lines(lines_of(document, root, "requirements"), path.parent)
    python = None
    if "python_version" in root:
        text = shown_value(root, "python_version")
        match = re.fullmatch(r"py(\d)(\d+)", text)
        if match is not None:
            python = document.key(f"{match[1]}.{match[2]}", "python_version")
        else:
            wanted.remarks.append(
                document.key(text, "python_version").left_out("expected py311 and the like")
            )
    if "requirements_file" in root:
        named = _file(document, root.text("requirements_file"), wanted, read)
        if named is not None and named.python is not None and python is not None:
            wanted.remarks.append(named.python.left_out(f"{path.name} sets the version of Python"))
        elif named is not None:
            python = python or named.python
    wanted.remarks += [document.locate(text).left_out(SYSTEM) for text in texts(root, "system_packages")]
    known = {"requirements", "requirements_file", "python_version", "model_name", "system_packages"}
    other_keys(document, root, wanted, known)
    return Imported(
        path=path,
        kind="a truss",
        name=shown_value(root, "model_name") if "model_name" in root else path.resolve().parent.name,
        wanted=wanted,
        python=python,
    )


def _file(document: Document, name: str, wanted: Wanted, read: Callable[[Path], Imported]) -> Imported | None:
    """Read the file that a truss names: requirements.txt, pyproject.toml or uv.lock; None: it cannot be read."""
    line = document.locate(f"requirements_file: {name}", name)
    path = document.path.parent / name
    try:
        found = read(path) if path.suffix in (".toml", ".lock") else read_requirements(path)
    except RecipeError as error:
        wanted.remarks.append(line.left_out(error.message))
        return None
    wanted.remarks.append(line.changed("its lines are in the recipe"))
    wanted.take_in(found.wanted)
    return found


# -- what they have in common ----------------------------------------------------------------------


def line_of(document: Document, text: str, needle: str) -> SourceLine:
    """Return *text* as a line of a requirements file, at the place of *needle*."""
    return SourceLine(text=text, place=document.locate(needle).place)


def included(document: Document, name: str) -> SourceLine:
    """Return the line that includes the requirements file *name*."""
    return line_of(document, f"-r {name}", name)


def lines_of(document: Document, record: Record, key: str) -> list[SourceLine]:
    """Return the list under *key* as lines of a requirements file."""
    return [document.locate(text) for text in (record.free_texts(key) if key in record else ())]


def other_keys(document: Document, root: Record, wanted: Wanted, known: set[str]) -> None:
    """Add a remark on each key that is not *known*: it is not part of an environment."""
    for key in root.value:
        if key not in known:
            wanted.remarks.append(document.key(key, key).left_out("not part of a Python environment"))
