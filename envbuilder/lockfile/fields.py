"""Parse the fields of a lock by their grammars: values that become paths, addresses or lines are checked here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.errors import RecipeError
from envbuilder.lockfile.model import Artifact, CondaPackage, Lock, LockedConda, LockedInterpreter
from envbuilder.recipe.channels import PLATFORMS
from envbuilder.recipe.grammar import (
    CONDA_BUILD,
    CONDA_NAME,
    CONDA_VERSION,
    CUDA,
    LARGEST_FILE,
    PROJECT,
    PYTHON,
    RECIPE,
    TOOL,
    VERSION,
)
from envbuilder.util.documents import Grammar, Record

_LONGEST_NAME: Final = 200
_CONDA_FILE = Grammar(
    pattern=re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*\.(conda|tar\.bz2)"),
    expected="the file name of a conda package",
)


def lock_of(root: Record, tool: Record) -> Lock:
    """Return the lock in the document *root*, whose own table of this tool is *tool*.

    Raises:
        DocumentError: a field is missing or invalid.
    """
    artifacts = tuple(_artifact(package) for package in root.records("packages"))
    _check_unique(root, "packages", (canonicalize_name(artifact.name) for artifact in artifacts))
    interpreter = tool.record("interpreter")
    return Lock(
        recipe=tool.text("recipe", RECIPE),
        recipe_digest=tool.digest("recipe-digest"),
        release=_release(tool),
        python=tool.text("python", PYTHON),
        torch=tool.text("torch", VERSION, longest=_LONGEST_NAME),
        cuda=tool.text("cuda", CUDA),
        demands=tool.texts("demands"),
        artifacts=artifacts,
        interpreter=LockedInterpreter(
            version=interpreter.text("version", PYTHON),
            origin=interpreter.text("origin", longest=300),
            digest=interpreter.digest("digest"),
        ),
        tools=tuple(tool.text_map("tools", keys=TOOL).items()),
        built=tuple(tool.text_map("built", keys=PROJECT).items()) if "built" in tool else (),
        conda=_conda(tool.record("conda")) if "conda" in tool else None,
    )


def _release(tool: Record) -> str:
    release = tool.text("release", longest=100)
    try:
        return find_release(release).name
    except RecipeError:
        tool.expected("release", f"a Triton release: YY.MM, or {PYTRITON}")


def _conda(table: Record) -> LockedConda:
    packages = tuple(_conda_package(row) for row in table.records("packages"))
    _check_unique(table, "packages", (package.name for package in packages))
    return LockedConda(
        packages=packages,
        provides=tuple(table.text_map("provides", keys=PROJECT).items()),
    )


def _conda_package(row: Record) -> CondaPackage:
    return CondaPackage(
        name=row.text("name", CONDA_NAME, longest=_LONGEST_NAME),
        version=row.text("version", CONDA_VERSION, longest=_LONGEST_NAME),
        build=row.text("build", CONDA_BUILD, longest=_LONGEST_NAME),
        channel=row.text("channel", longest=300),
        subdir=row.choice("subdir", *PLATFORMS),
        filename=row.text("file-name", _CONDA_FILE, longest=255),
        sha256=row.digest("sha256"),
        size=row.integer("size", most=LARGEST_FILE),
    )


def _artifact(package: Record) -> Artifact:
    wheels = package.records("wheels")
    if len(wheels) != 1:
        package.fail("wheels", f"{len(wheels)} wheels, not one")
    (wheel,) = wheels
    name = package.text("name", PROJECT, longest=_LONGEST_NAME)
    version = package.text("version", VERSION, longest=_LONGEST_NAME)
    filename = wheel.text("name", longest=255)
    if not _is_wheel_of(filename, name, version):
        wheel.expected("name", f"the file name of a wheel of {name} {version}")
    return Artifact(
        name=name,
        version=version,
        filename=filename,
        sha256=wheel.record("hashes").digest("sha256"),
        size=wheel.integer("size", most=LARGEST_FILE),
    )


def _is_wheel_of(filename: str, name: str, version: str) -> bool:
    """Return whether *filename* is that of a wheel of this project and version, without a folder."""
    try:
        project, release, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return False
    if re.search(r"[/\\\0]", filename):
        return False
    return project == canonicalize_name(name) and release == Version(version)


def _check_unique(table: Record, key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            table.fail(f"{key}[{number}].name", f"{name} a second time")
        seen.add(name)
