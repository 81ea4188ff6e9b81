"""A ``pylock.toml`` (PEP 751) that another tool wrote."""

from __future__ import annotations

from pathlib import Path

from packaging.pylock import Package, Pylock, PylockValidationError

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, read_toml
from envbuilder.recipe.importing.locked import Locked, LockedPackage
from envbuilder.recipe.importing.wanted import Imported


def read_pylock(path: Path) -> Imported:
    """Read the ``pylock.toml`` *path*: every package at its version.

    Raises:
        RecipeError: it cannot be read, or does not follow PEP 751.
    """
    document = read_toml(path)
    try:
        lock = Pylock.from_dict(document.root.value)
        taken = [package for package in lock.packages if _is_taken(package, lock)]
    except (PylockValidationError, ValueError, TypeError) as error:
        raise RecipeError(f"{path} is not a pylock.toml (PEP 751): {error}") from error
    name = path.name.removeprefix("pylock.").removesuffix("toml").strip(".") or path.resolve().parent.name
    imported = Locked(
        path=path,
        kind="a pylock.toml",
        name=name,
        packages=tuple(_package(package, document) for package in taken),
        roots=None,
        python=document.said(str(lock.requires_python), "requires-python") if lock.requires_python else None,
    ).imported()
    imported.wanted.remarks += [
        _package(package, document).said.left_out("of an extra or a group that is not taken by default")
        for package in lock.packages
        if package not in taken
    ]
    return imported


def _is_taken(package: Package, lock: Pylock) -> bool:
    """Whether a package is installed without extras, with the groups that are so by default."""
    if not _names_groups(package):
        return True
    assert package.marker is not None
    groups = frozenset(lock.default_groups or ())
    return package.marker.evaluate({"extras": frozenset(), "dependency_groups": groups}, context="lock_file")


def _names_groups(package: Package) -> bool:
    return any(word in str(package.marker or "") for word in (" in extras", " in dependency_groups"))


def _package(package: Package, document: Document) -> LockedPackage:
    version = str(package.version or "")
    return LockedPackage(
        name=package.name,
        version=version,
        said=document.said(f"{package.name} {version}".strip(), f'name = "{package.name}"'),
        index=package.index or "",
        reference=_reference(package),
        marker="" if _names_groups(package) else str(package.marker or ""),
        itself=package.directory is not None and package.directory.path in (".", "./"),
    )


def _reference(package: Package) -> str:
    if package.vcs is not None:
        folder = f"#subdirectory={package.vcs.subdirectory}" if package.vcs.subdirectory else ""
        return f"git+{package.vcs.url or package.vcs.path}@{package.vcs.commit_id}{folder}"
    if package.directory is not None:
        path = package.directory.path
        return path if path.startswith((".", "/")) else f"./{path}"
    if package.archive is not None:
        return package.archive.url or f"./{package.archive.path}"
    return ""
