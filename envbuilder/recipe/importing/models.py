"""Python parts of what other serving tools pack: MLflow models, BentoML's bentofile, cog and truss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, read_yaml
from envbuilder.recipe.importing.environment_yml import read_environment
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import read_pip_lines
from envbuilder.recipe.importing.wanted import Imported, Wanted


def read_mlmodel(path: Path) -> Imported:
    """Read the environment of the MLflow model whose ``MLmodel`` is *path*: python_env.yaml, or else conda.yaml.

    Raises:
        RecipeError: it names no environment, or that cannot be read.
    """
    document = read_yaml(path)
    flavors = document.root.value.get("flavors")
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    named = function.get("env") if isinstance(function, dict) else None
    files = named if isinstance(named, dict) else {"conda": named} if isinstance(named, str) else {}
    for kind, reader in (("virtualenv", read_python_env), ("conda", _conda)):
        name = files.get(kind)
        if isinstance(name, str) and (path.parent / name).is_file():
            found = reader(path.parent / name)
            other = files.get("conda")
            if kind == "virtualenv" and isinstance(other, str):
                why = f"{name} describes the environment; import {other} itself to use that one"
                found.wanted.remarks.append(document.said(f"conda: {other}").left_out(why))
            return Imported(
                path=path,
                kind="an MLflow model",
                name=path.resolve().parent.name,
                wanted=found.wanted,
                python=found.python,
                conda=found.conda,
            )
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
    wanted = read_pip_lines(
        _lines(document, document.root.value.get("dependencies"), "dependencies"), path.parent
    )
    for text in _texts(document.root.value.get("build_dependencies")):
        wanted.remarks.append(document.said(text).left_out("needed by builds, not by the model"))
    python = document.root.value.get("python")
    return Imported(
        path=path,
        kind="MLflow's python_env.yaml",
        name=path.resolve().parent.name,
        wanted=wanted,
        python=document.said(str(python), "python") if python is not None else None,
    )


def _conda(path: Path) -> Imported:
    environment = read_environment(path)
    wanted = read_pip_lines(environment.pip, path.parent)
    return Imported(path=path, kind="a conda file", name=environment.name, wanted=wanted, conda=environment)


def read_bentofile(path: Path) -> Imported:
    """Read the Python part of a ``bentofile.yaml``.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    root = document.root.value
    python = _table(root.get("python"))
    lines = _lines(document, python.get("packages"), "packages")
    if isinstance(python.get("requirements_txt"), str):
        lines.append(_included(document, python["requirements_txt"]))
    for key, option in (("index_url", "--index-url"), ("extra_index_url", "--extra-index-url")):
        lines += [document_line(document, f"{option} {url}", url) for url in _texts(python.get(key))]
    lines += [
        document_line(document, wheel if "/" in wheel else f"./{wheel}", wheel)
        for wheel in _texts(python.get("wheels"))
    ]
    lines += [
        document_line(document, f"--find-links {place}", place) for place in _texts(python.get("find_links"))
    ]
    lines += [document_line(document, "--no-index", "no_index")] if python.get("no_index") is True else []
    lines += [document_line(document, line, "pip_args") for line in _options(python.get("pip_args"))]
    wanted = read_pip_lines(lines, path.parent)
    if "lock_packages" in python:
        said = document.said(f"lock_packages: {str(python['lock_packages']).lower()}", "lock_packages")
        wanted.remarks.append(said.left_out("a recipe is always locked"))
    conda = _table(root.get("conda"))
    for key in conda:
        said = document.said(f"conda: {key}", f"{key}:")
        wanted.remarks.append(said.left_out(_CONDA.format(file=conda.get("environment_yml", "its file"))))
    docker = _table(root.get("docker"))
    for text in _texts(docker.get("system_packages")):
        wanted.remarks.append(document.said(text).left_out(_SYSTEM))
    _others(document, root, wanted, {"python", "docker", "conda"})
    version, cuda = docker.get("python_version"), docker.get("cuda_version")
    if cuda is not None:
        why = "the CUDA of the image; torch from pip contains its own: choose another build with --cuda"
        wanted.remarks.append(document.said(f"cuda_version: {cuda}", "cuda_version").left_out(why))
    return Imported(
        path=path,
        kind="a bentofile.yaml",
        name=str(root.get("name") or path.resolve().parent.name),
        wanted=wanted,
        python=document.said(str(version), "python_version") if version is not None else None,
    )


def read_cog(path: Path) -> Imported:
    """Read the ``build`` part of a ``cog.yaml``.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    build = _table(document.root.value.get("build"))
    lines = _lines(document, build.get("python_packages"), "python_packages")
    if isinstance(build.get("python_requirements"), str):
        lines.append(_included(document, build["python_requirements"]))
    wanted = read_pip_lines(lines, path.parent)
    for text in _texts(build.get("system_packages")):
        wanted.remarks.append(document.said(text).left_out(_SYSTEM))
    for item in build.get("run") or ():
        text = str(item.get("command", item)) if isinstance(item, dict) else str(item)
        wanted.remarks.append(document.said(text).left_out("a command of an image's build"))
    for key in ("gpu", "cudnn") if "cuda" in build or build.get("gpu") is not False else ("cudnn",):
        if key in build:
            wanted.remarks.append(
                document.said(f"{key}: {str(build[key]).lower()}", f"{key}:").left_out(_IMAGE)
            )
    _others(document, document.root.value, wanted, {"build"})
    version, cuda = build.get("python_version"), build.get("cuda")
    said = document.said(str(cuda), "cuda") if cuda is not None else None
    if build.get("gpu") is False and said is None:
        said = document.said("cpu", "gpu")
    return Imported(
        path=path,
        kind="a cog.yaml",
        name=path.resolve().parent.name,
        wanted=wanted,
        python=document.said(str(version), "python_version") if version is not None else None,
        cuda=said,
    )


def read_truss(path: Path) -> Imported:
    """Read the Python part of a truss's ``config.yaml``.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_yaml(path)
    root = document.root.value
    lines = _lines(document, root.get("requirements"), "requirements")
    if isinstance(root.get("requirements_file"), str):
        lines.append(_included(document, root["requirements_file"]))
    wanted = read_pip_lines(lines, path.parent)
    for text in _texts(root.get("system_packages")):
        wanted.remarks.append(document.said(text).left_out(_SYSTEM))
    _others(
        document,
        root,
        wanted,
        {"requirements", "requirements_file", "python_version", "model_name", "system_packages"},
    )
    python = re.fullmatch(r"py(\d)(\d+)", str(root.get("python_version", "")))
    return Imported(
        path=path,
        kind="a truss",
        name=str(root.get("model_name") or path.resolve().parent.name),
        wanted=wanted,
        python=document.said(f"{python[1]}.{python[2]}", "python_version") if python else None,
    )


_IMAGE = "part of the image: the wheels contain their own"
_CONDA = "conda's part: import {file} by itself, and add what is Python's here"
_SYSTEM = "a package of the image, not of the environment: the server's image must have it"


def document_line(document: Document, text: str, needle: str) -> Said:
    """Return *text* as a line of pip's, at the place of *needle*."""
    place = document.said(needle).place
    return Said(text=text, place=place)


def _options(said: object) -> list[str]:
    """Return the options in a line of pip's arguments, each with what belongs to it."""
    return (
        [f"-{one}".strip() for one in re.split(r"(?:^|\s)-(?=[-a-zA-Z])", str(said)) if one.strip()]
        if said
        else []
    )


def _included(document: Document, name: str) -> Said:
    return document_line(document, f"-r {name}", name)


def _lines(document: Document, value: object, key: str) -> list[Said]:
    if value is not None and not isinstance(value, list):
        document.root.fail(key, "expected a list")
    return [document.said(text) for text in _texts(value)]


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value if item is not None] if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _others(document: Document, root: dict[str, Any] | Any, wanted: Wanted, known: set[str]) -> None:
    for key in root:
        if key not in known:
            wanted.remarks.append(
                document.said(str(key), f"{key}:").left_out("not part of a Python environment")
            )
