"""A ``uv.lock``."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.recipe.importing.documents import Document, read_toml, tables
from envbuilder.recipe.importing.locked import Locked, LockedPackage
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.wanted import Imported, holds, parse, read_marker, with_marker
from envbuilder.util.documents import Record

_NEWEST_PYTHON = "3.12"
"""Forks of a lock differ by platform far more often than by Python: one is enough to tell which is for Linux."""


def read_uv_lock(path: Path) -> Imported:
    """Read the ``uv.lock`` *path*: what its project asks for, at the versions that are locked.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_toml(path)
    entries = [entry for entry in document.root.records("package") if _is_for_linux(entry, path)]
    roots: dict[str, Requirement] = {}
    members = [entry for entry in entries if _is_member(entry)]
    for member in members:
        for dependency in tables(member.value.get("dependencies")):
            requirement = _requirement(dependency, path)
            if requirement is not None:
                roots[canonicalize_name(requirement.name)] = requirement
    root = document.root
    return Locked(
        path=path,
        kind="a uv.lock",
        name=members[0].text("name") if members else path.resolve().parent.name,
        packages=tuple(_package(entry, document, member=entry in members) for entry in entries),
        roots=[(Said(text=str(one), place=str(path)), one) for one in roots.values()] if members else None,
        python=document.said(root.text("requires-python"), "requires-python")
        if "requires-python" in root
        else None,
    ).imported()


def _is_member(entry: Record) -> bool:
    source = entry.value.get("source")
    return isinstance(source, dict) and ("virtual" in source or source.get("editable") == ".")


def _is_for_linux(entry: Record, path: Path) -> bool:
    markers = entry.texts("resolution-markers") if "resolution-markers" in entry else ()
    return not markers or any(holds(read_marker(marker, str(path)), _NEWEST_PYTHON) for marker in markers)


def _requirement(dependency: object, path: Path) -> Requirement | None:
    if not isinstance(dependency, dict) or not isinstance(dependency.get("name"), str):
        return None
    if not holds(read_marker(str(dependency.get("marker", "")), str(path)), _NEWEST_PYTHON):
        return None
    extras = f"[{','.join(map(str, dependency['extra']))}]" if dependency.get("extra") else ""
    found = parse(with_marker(f"{dependency['name']}{extras}", []))
    return None if isinstance(found, str) else found


def _package(entry: Record, document: Document, *, member: bool) -> LockedPackage:
    name = entry.text("name")
    version = entry.text("version") if "version" in entry else ""
    source = entry.record("source") if "source" in entry else None
    return LockedPackage(
        name=name,
        version=version,
        said=document.said(f"{name} {version}".strip(), f'name = "{name}"'),
        index=source.text("registry") if source is not None and "registry" in source else "",
        reference=_reference(source) if source is not None else "",
        itself=member,
    )


def _reference(source: Record) -> str:
    if "git" in source:
        address, _, commit = source.text("git").partition("#")
        address, _, query = address.partition("?")
        folder = parse_qs(query).get("subdirectory", [""])[0]
        at = f"@{commit}" if commit else ""
        return f"git+{address}{at}" + (f"#subdirectory={folder}" if folder else "")
    for key in ("url", "path", "directory", "editable"):
        if key in source and source.text(key) != ".":
            text = source.text(key)
            return text if key == "url" or text.startswith((".", "/")) else f"./{text}"
    return ""
