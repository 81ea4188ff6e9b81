"""The keys of a recipe that list requirements and projects, each entry checked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from envbuilder.catalog.python_backend import NEEDED
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirements import read_pip_lines
from envbuilder.util.project_name import project_name
from envbuilder.util.yaml import Value

_INCLUDED = re.compile(r"(?:-r|--requirement)[\s=]+(.+)")


@dataclass(kw_only=True, slots=True)
class Dependencies:
    """The requirements of a recipe in PEP 508 form, with local wheels and folders as absolute ``file:``
    references."""

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    build_from_source: list[str] = field(default_factory=list)
    exclude_dependencies: list[str] = field(default_factory=list)


def read_dependencies(
    dependencies: Sequence[Value],
    constraints: Sequence[Value],
    build: Sequence[Value],
    excluded: Sequence[Value],
    path: Path,
) -> Dependencies:
    """Read the entries of the recipe *path*: ``dependencies``, ``constraints``, ``build-from-source``, and so on.

    Raises:
        RecipeError: one is invalid, or names a missing file; the message has file and line.
    """
    found = Dependencies()
    for value in dependencies:
        included = _INCLUDED.fullmatch(value.data.strip())
        if included is not None:
            _include(value, path, found, constrains=False)
        else:
            found.requirements.append(_dependency(value, value.data.strip(), path))
    for value in constraints:
        if _INCLUDED.fullmatch(value.data.strip()) is not None:
            _include(value, path, found, constrains=True)
        else:
            found.constraints.append(_constraint(value, value.data.strip()))
    found.build_from_source += [_project(value, "build-from-source") for value in build]
    required = {canonicalize_name(Requirement(text).name) for text in found.requirements}
    for value in excluded:
        name = _project(value, "exclude-dependencies")
        if name in NEEDED:
            raise value.error(f"`exclude-dependencies` has {name}, without which no server runs a model")
        if name in required:
            raise value.error(
                f"{name} is in `dependencies` and in `exclude-dependencies`", "remove one of the two"
            )
        found.exclude_dependencies.append(name)
    return found


def _project(value: Value, key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value.data):
        raise value.error(f"`{key}` has {value.data!r}; expected a project's name")
    return canonicalize_name(value.data)


def _include(value: Value, path: Path, found: Dependencies, *, constrains: bool) -> None:
    """Add the lines of a requirements file.

    A line that a recipe cannot have is an error, with the file's own line number.
    """
    folder = path.absolute().parent
    option = "-c" if constrains else "-r"
    match = _INCLUDED.fullmatch(value.data.strip())
    assert match is not None
    read = read_pip_lines(
        [SourceLine(text=f"{option} {match[1]}", place=f"{value.source}:{value.line}")], folder
    )
    for remark in read.remarks:
        if remark.fate == "left out":
            raise value.error(f"{remark.text}: {remark.why}", f"at {remark.place}")
    for said, requirement in read.requirements:
        if canonicalize_name(requirement.name) == "torch":
            raise value.error(
                f"{said.place}: torch among the requirements",
                "set its version with `torch`, and its build with `cuda`",
            )
        found.requirements.append(_dependency(value, str(requirement), path))
    found.constraints += [_constraint(value, str(requirement)) for _, requirement in read.constraints]
    found.build_from_source += [canonicalize_name(name) for name in read.build]


def _constraint(value: Value, text: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise value.error(f"{text!r} is not a constraint: {str(error).splitlines()[0]}") from None
    if requirement.url is not None or requirement.extras:
        raise value.error(f"{text!r}: a constraint sets versions only, without a place or extras")
    if canonicalize_name(requirement.name) == "torch":
        raise value.error(
            "torch among `constraints`", "set its version with `torch`, and its build with `cuda`"
        )
    return str(requirement)


def _dependency(value: Value, text: str, path: Path) -> str:
    """Check one requirement; local wheels and folders become absolute ``file:`` references."""
    if text.endswith(".whl") and "@" not in text:
        text = f"{_wheel_name(value, text)} @ {text}"
    elif re.match(r"\.{1,2}(/|$)", text):
        text = f"{_folder_name(value, text, path)} @ {text}"
    try:
        requirement = Requirement(text)
        urlsplit(requirement.url or "")
    except (InvalidRequirement, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise value.error(f"{text!r} is not a requirement (PEP 508): {reason}") from None
    name = canonicalize_name(requirement.name)
    if name == "torch":
        raise value.error(
            "torch among `dependencies`", "set its version with `torch`, and its build with `cuda`"
        )
    if requirement.url is None or requirement.url.startswith("git+"):
        return str(requirement)
    if re.match(r"https?:", requirement.url):
        _wheel_name(value, urlsplit(requirement.url).path)
        return str(requirement)
    scheme = re.match(r"([a-z+]+):", requirement.url)
    if scheme is not None and scheme[1] != "file":
        raise value.error(
            f"{text!r}: expected git+https:, git+ssh:, https:, a local wheel, or a local folder"
        )
    local = Path(os.path.normpath(path.absolute().parent / unquote(requirement.url.removeprefix("file://"))))
    _check_local(value, text, local, name)
    requirement.url = local.as_uri()
    return str(requirement)


def _check_local(value: Value, text: str, local: Path, name: str) -> None:
    """Refuse a reference to a wheel or folder *local* that is missing, or not of the project *name*."""
    if local.suffix == ".whl":
        if canonicalize_name(_wheel_name(value, local.name)) != name:
            raise value.error(f"{text!r}: the wheel is one of {_wheel_name(value, local.name)}")
        if not local.is_file():
            raise value.error(f"{text!r}: there is no file {local}")
    elif not local.exists():
        raise value.error(f"{text!r}: there is no folder {local}")
    elif not local.is_dir():
        raise value.error(
            f"{text!r} is neither a wheel nor a folder, and only wheels can be pinned by hash",
            "build a wheel of it",
        )
    elif (own := project_name(local)) is not None and canonicalize_name(own) != name:
        raise value.error(f"{text!r}: the project in {local} is called {own}")


def _folder_name(value: Value, text: str, path: Path) -> str:
    folder = path.absolute().parent / text
    if not folder.is_dir():
        raise value.error(f"{text!r}: there is no folder {Path(os.path.normpath(folder))}")
    name = project_name(folder)
    if name is None:
        raise value.error(
            f"{text!r} does not name its project",
            "project.name in pyproject.toml, or name in setup.cfg",
        )
    return name


def _wheel_name(value: Value, text: str) -> str:
    try:
        return parse_wheel_filename(unquote(Path(text).name))[0]
    except InvalidWheelFilename as error:
        raise value.error(f"{text!r} is no wheel: {error}") from None
