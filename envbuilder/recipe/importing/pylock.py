"""A ``pylock.toml`` (PEP 751) that another tool wrote."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from packaging.pylock import Package, Pylock, PylockValidationError
from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, read_toml
from envbuilder.recipe.importing.locked import Locked, LockedPackage, is_source_only
from envbuilder.recipe.importing.wanted import Imported

_NOT_TAKEN = "of an extra or a group that is not taken: --group NAME takes it"


def read_pylock(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read the ``pylock.toml`` *path*: every package at its version; *groups* are extras and groups that count, too.

    Raises:
        RecipeError: it cannot be read, does not follow PEP 751, or has no such group.
    """
    document = read_toml(path)
    try:
        lock = Pylock.from_dict(document.root.value)
        extras = _named(groups, lock.extras or ())
        taken_groups = _named(groups, lock.dependency_groups or ())
        for name in groups:
            known = {
                canonicalize_name(one) for one in (*(lock.extras or ()), *(lock.dependency_groups or ()))
            }
            if canonicalize_name(name) not in known:
                raise RecipeError(f"{path} has no group or extra {name!r}")
        taken = [
            package
            for package in lock.packages
            if _is_taken(package, extras, taken_groups | {*(lock.default_groups or ())})
        ]
    except (PylockValidationError, ValueError, TypeError) as error:
        raise RecipeError(f"{path} is not a pylock.toml (PEP 751): {error}") from error
    name = path.name.removeprefix("pylock.").removesuffix("toml").strip(".") or path.resolve().parent.name
    return Locked(
        path=path,
        kind="a pylock.toml",
        name=name,
        packages=tuple(_package(package, document, taken=package in taken) for package in lock.packages),
        roots=None,
        python=document.key(str(lock.requires_python), "requires-python") if lock.requires_python else None,
    ).imported()


def _named(groups: Sequence[str], known: Collection[str]) -> frozenset[str]:
    wanted = {canonicalize_name(name) for name in groups}
    return frozenset(name for name in known if canonicalize_name(name) in wanted)


def _is_taken(package: Package, extras: frozenset[str], groups: frozenset[str]) -> bool:
    """Whether a package is installed with *extras* and *groups*."""
    if not _names_groups(package):
        return True
    assert package.marker is not None
    return package.marker.evaluate({"extras": extras, "dependency_groups": groups}, context="lock_file")


def _names_groups(package: Package) -> bool:
    return any(word in str(package.marker or "") for word in (" in extras", " in dependency_groups"))


def _package(package: Package, document: Document, *, taken: bool) -> LockedPackage:
    version = str(package.version or "")
    files = [wheel.name or wheel.url or wheel.path or "" for wheel in package.wheels or ()]
    if package.sdist is not None:
        files.append(package.sdist.name or package.sdist.url or package.sdist.path or "")
    return LockedPackage(
        name=package.name,
        version=version,
        line=document.locate(f"{package.name} {version}".strip(), f'name = "{package.name}"'),
        index=package.index or "",
        reference=_reference(package),
        marker="" if _names_groups(package) else str(package.marker or ""),
        itself=package.directory is not None and package.directory.path in (".", "./"),
        not_taken="" if taken else _NOT_TAKEN,
        source_only=is_source_only(files),
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
