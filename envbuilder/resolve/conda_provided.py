"""Python projects that conda packages contain: to the solver of wheels they are there already, with their version.

uv knows no installed packages. It is shown a wheelhouse in which each such project has one wheel, of the version that
the channel has, which needs nothing: what the project needs is the conda solver's business. What uv answers of it is
left out of the lock.
"""

from __future__ import annotations

import email
import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.errors import ResolveError
from envbuilder.recipe.location import where
from envbuilder.recipe.model import Recipe


def write_stand_ins(provided: Mapping[str, bytes], folder: Path) -> dict[str, str]:
    """Write a wheelhouse of what is *provided*; return name and version of each."""
    versions = {}
    for name, metadata in provided.items():
        message = email.message_from_bytes(metadata)
        try:
            version = str(Version(message["Version"] or ""))
        except InvalidVersion:
            continue  # no requirement could ever speak of it
        versions[name] = version
        stem = f"{name.replace('-', '_')}-{version}"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Provides-Extra: {extra}" for extra in message.get_all("Provides-Extra", [])]
        lines += [
            f"Requires-Dist: {text}" for text in message.get_all("Requires-Dist", []) if _of_an_extra(text)
        ]
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")
            tags = "Wheel-Version: 1.0\nGenerator: envbuilder\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            wheel.writestr(f"{stem}.dist-info/WHEEL", tags)
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return versions


def _of_an_extra(text: str) -> bool:
    try:
        marker = Requirement(text).marker
    except InvalidRequirement:
        return False
    return marker is not None and "extra" in str(marker)


def check_names(recipe: Recipe, provided: Mapping[str, str]) -> None:
    """Refuse a wheel that the recipe names by its place where conda has a package of that name.

    Raises:
        ResolveError: there is one; both are named, and the line of the recipe.
    """
    for text in recipe.dependencies:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if requirement.url is not None and name in provided:
            raise ResolveError(
                f"{where(recipe, 'dependencies', name)}: {requirement.url.rsplit('/', 1)[-1]} and the conda package "
                f"of {name} {provided[name]} both provide {name}",
                hint="remove one of them: a wheel never overwrites files of a conda package",
            )
