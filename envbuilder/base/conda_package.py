"""Metadata of a conda package, read before anything of it is installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.links import Tree
from envbuilder.base.conda_archive import CondaArchive, read_conda_archive
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import CondaPackage
from envbuilder.util.documents import LISTING, DocumentError, Record, parse_json

_ENTRY_POINT: Final = re.compile(r"\s*[^\s=/]+\s*=\s*[\w.]+\s*:\s*[\w.]+\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageContent:
    """The paths of a package, each checked, as they will be in an environment."""

    paths: tuple[str, ...]
    placeholders: tuple[tuple[str, str], ...]
    """Path and kind (``text`` or ``binary``) of each file with a prefix to replace."""
    links: tuple[tuple[str, str], ...]
    """Path and target of each symbolic link."""
    scripts: tuple[str, ...]
    """Link scripts: paths."""
    metadata: tuple[bytes, ...]
    """METADATA of the Python projects in it."""


def name_packages(paths: Mapping[CondaPackage, Path], folder: Path) -> dict[CondaPackage, Path]:
    """Link packages of the store by their names in *folder*: rattler tells a package's kind by its name."""
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
        AssembleError: it is not a conda package, or not the one its name says; a path or link leaves the environment;
            an entry point is invalid.
    """
    try:
        archive = read_conda_archive(path)
        return _content(package, archive, minor, metadata)
    except DocumentError as error:
        said = (
            f"{error.where}: {error.path}: {error.reason}" if error.path else f"{error.where}: {error.reason}"
        )
    except OSError as error:
        said = error.strerror or str(error)
    except ValueError as error:
        said = str(error)
    raise AssembleError(f"{package.filename}: cannot be read as a conda package: {said}")


def _content(package: CondaPackage, archive: CondaArchive, minor: str, metadata: bool) -> PackageContent:
    _check_name(package, parse_json(archive.info.get("info/index.json", b"null"), where="info/index.json"))
    link = parse_json(archive.info.get("info/link.json", b"{}"), where="info/link.json")
    noarch = link.record("noarch") if "noarch" in link else None
    python = noarch is not None and "type" in noarch and noarch.text("type") == "python"
    entry_points = noarch.value.get("entry_points") or [] if noarch is not None else []
    _check_entry_points(package, entry_points)
    rows = _rows(archive)
    paths = [path for path, _ in rows]
    for one in (*paths, *archive.members):
        _check_path(package, one)
    for one in archive.links:
        _check_path(package, one)
    placed = {one: _placed(one, minor) if python else one for one in paths}
    content = PackageContent(
        paths=(*placed.values(), *(f"bin/{entry.partition('=')[0].strip()}" for entry in entry_points)),
        placeholders=tuple((placed[path], mode) for path, mode in rows if mode is not None),
        links=tuple((placed.get(one, one), target) for one, target in archive.links.items()),
        scripts=tuple(one for one in paths if re.fullmatch(r"bin/\.[^/]+-post-link\.sh", one)),
        metadata=tuple(archive.metadata[one] for one in paths if one in archive.metadata) if metadata else (),
    )
    check_links({package: content})
    return content


def _rows(archive: CondaArchive) -> list[tuple[str, str | None]]:
    """Return the path of each file, and how its prefix is to be replaced, if at all: ``text`` or ``binary``."""
    if "info/paths.json" in archive.info:
        document = parse_json(archive.info["info/paths.json"], where="info/paths.json", cap=LISTING)
        return [(row.free_text("_path"), _mode(row)) for row in document.records("paths")]
    # Packages from before 2017 have a list of names, and another one of those with a prefix.
    modes: dict[str, str] = {}
    for line in _lines(archive, "info/has_prefix"):
        words = shlex.split(line)
        modes[words[-1]] = words[1] if len(words) == 3 else "text"
    return [(path, modes.get(path)) for path in _lines(archive, "info/files")]


def _mode(row: Record) -> str | None:
    if "prefix_placeholder" not in row:
        return None
    return row.choice("file_mode", "text", "binary") if "file_mode" in row else "text"


def _lines(archive: CondaArchive, name: str) -> list[str]:
    return [line for line in archive.info.get(name, b"").decode("utf-8").splitlines() if line.strip()]


def _check_name(package: CondaPackage, index: Record) -> None:
    found = (index.text("name"), index.text("version"), index.text("build"))
    if (found[0].lower(), *found[1:]) != (package.name, package.version, package.build):
        raise AssembleError(
            f"{package.filename}: its metadata says that it is {'-'.join(found)}",
            hint="the channel's index is wrong: re-index it, then lock again",
        )


def _check_entry_points(package: CondaPackage, entry_points: Any) -> None:
    if not isinstance(entry_points, list):
        raise ValueError("info/link.json: noarch.entry_points: expected a list")
    for entry in entry_points:
        if not isinstance(entry, str) or not _ENTRY_POINT.fullmatch(entry):
            raise AssembleError(
                f"{package.filename}: invalid entry point {entry!r}",
                hint="expected NAME = MODULE:FUNCTION; use another build of the package",
            )


def _check_path(package: CondaPackage, path: str) -> None:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path or not path:
        raise AssembleError(
            f"{package.filename}: {path!r} leaves the environment",
            hint="do not trust this package: check where the channel got it from",
        )


def check_links(contents: Mapping[CondaPackage, PackageContent]) -> None:
    """Reject a link that leaves the environment, by itself or through links of other packages.

    Raises:
        AssembleError: it names the package and the link.
    """
    tree = Tree()
    for content in contents.values():
        for path, target in content.links:
            tree.add_link(path, target)
    for content in contents.values():
        linked = {path for path, _ in content.links}
        for path in content.paths:
            if path not in linked:
                tree.add_file(path)
    for package, content in contents.items():
        for path, target in content.links:
            if tree.resolve_link(path).escapes:
                raise AssembleError(
                    f"{package.filename}: the link {path} points to {target}, outside the environment",
                    hint="links must stay inside; use another build of the package",
                )


def _placed(path: str, minor: str) -> str:
    """Return where a file of a noarch package goes."""
    if path.startswith("site-packages/"):
        return f"lib/python{minor}/{path}"
    if path.startswith("python-scripts/"):
        return f"bin/{path.removeprefix('python-scripts/')}"
    return path
