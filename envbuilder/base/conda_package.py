"""What a conda package says of itself, read before anything of it is installed."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import CondaPackage
from envbuilder.util.rattler import rattler, said, wait

_ENTRY_POINT: Final = re.compile(r"\s*[^\s=/]+\s*=\s*[\w.]+\s*:\s*[\w.]+\s*")
_METADATA: Final = re.compile(
    r"(?:lib/python3\.\d+/)?site-packages/[^/]+(\.dist-info/METADATA|\.egg-info(/PKG-INFO)?)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageContent:
    """The paths of a package, each checked, as they will be in an environment."""

    paths: tuple[str, ...]
    placeholders: tuple[tuple[str, str], ...]
    """Path and kind (``text`` or ``binary``) of each file with a prefix to be replaced."""
    links: tuple[tuple[str, str], ...]
    """Path and target of each symbolic link."""
    scripts: tuple[str, ...]
    """Link scripts: paths."""
    metadata: tuple[bytes, ...]
    """Of the Python projects in it."""


def name_packages(paths: Mapping[CondaPackage, Path], folder: Path) -> dict[CondaPackage, Path]:
    """Give packages of the store their names in *folder*, for rattler tells the kind of a package by its name."""
    named = {}
    for package, path in paths.items():
        named[package] = folder / package.subdir / package.filename
        named[package].parent.mkdir(exist_ok=True, parents=True)
        try:
            os.link(path, named[package])  # it is only read
        except OSError:  # another file system, or another user's file
            shutil.copyfile(path, named[package])
    return named


def read_package(package: CondaPackage, path: Path, minor: str, *, metadata: bool = False) -> PackageContent:
    """Read and check the archive at *path*, which has its own name; with *metadata* also its Python projects.

    Raises:
        AssembleError: it is no conda package, or not the one its name says; a path leaves the environment; a link
            leads out; an entry point is none.
    """
    module = rattler()
    try:
        return wait(_read(module, package, path, minor, metadata))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssembleError(
            f"{package.filename}: is no conda package that can be read: {said(error)}"
        ) from error


async def _read(
    module: ModuleType, package: CondaPackage, path: Path, minor: str, metadata: bool
) -> PackageContent:
    archive = await module.package_streaming.PackageArchive.from_path(path)
    info = await archive.read_files(["info/index.json", "info/link.json"])
    _check_name(package, json.loads(info["info/index.json"] or b"null"))
    noarch = json.loads(info["info/link.json"] or b"{}").get("noarch") or {}
    python = noarch.get("type") == "python"
    entry_points = noarch.get("entry_points") or []
    _check_entry_points(package, entry_points)
    rows = (await archive.paths_json()).paths
    paths = [str(row.relative_path) for row in rows]
    for one in paths:
        _check_path(package, one)
    links = {entry.name: entry.link_target async for entry in archive.stream("pkg") if entry.is_symlink}
    _check_links(package, links)
    placed = {one: _placed(one, minor) if python else one for one in paths}
    found: list[bytes] = []
    if metadata:
        wanted = [one for one in paths if _METADATA.fullmatch(one)]
        read = await archive.read_files(wanted) if wanted else {}
        found = [read[one] or b"" for one in wanted]
    return PackageContent(
        paths=(*placed.values(), *(f"bin/{entry.partition('=')[0].strip()}" for entry in entry_points)),
        placeholders=tuple(
            (placed[str(row.relative_path)], row.prefix_placeholder.file_mode.mode)
            for row in rows
            if row.prefix_placeholder is not None
        ),
        links=tuple((placed.get(one, one), target or "") for one, target in links.items()),
        scripts=tuple(one for one in paths if re.fullmatch(r"bin/\.[^/]+-post-link\.sh", one)),
        metadata=tuple(found),
    )


def _check_name(package: CondaPackage, index: Any) -> None:
    if not isinstance(index, dict):
        raise ValueError("info/index.json is none")
    found = (index["name"], index["version"], index["build"])
    if (found[0].lower(), *found[1:]) != (package.name, package.version, package.build):
        raise AssembleError(
            f"{package.filename}: says of itself that it is {'-'.join(map(str, found))}",
            hint="the channel's index is wrong: index it again, and lock again",
        )


def _check_entry_points(package: CondaPackage, entry_points: Sequence[Any]) -> None:
    for entry in entry_points:
        if not isinstance(entry, str) or not _ENTRY_POINT.fullmatch(entry):
            raise AssembleError(
                f"{package.filename}: the entry point {entry!r} is none",
                hint="NAME = MODULE:FUNCTION is one; take another build of the package",
            )


def _check_path(package: CondaPackage, path: str) -> None:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path or not path:
        raise AssembleError(
            f"{package.filename}: {path!r} leaves the environment",
            hint="no honest package has such a path: where does the channel have it from?",
        )


def _check_links(package: CondaPackage, links: dict[str, str | None]) -> None:
    for path, target in links.items():
        _check_path(package, path)
        end = posixpath.normpath(posixpath.join(posixpath.dirname(path), target or ""))
        if (target or "").startswith("/") or end.startswith("../") or end == "..":
            raise AssembleError(
                f"{package.filename}: the link {path} leads to {target}, out of the environment",
                hint="links lead to paths inside; take another build of the package",
            )


def _placed(path: str, minor: str) -> str:
    """Return where a file of a noarch package goes."""
    if path.startswith("site-packages/"):
        return f"lib/python{minor}/{path}"
    if path.startswith("python-scripts/"):
        return f"bin/{path.removeprefix('python-scripts/')}"
    return path
