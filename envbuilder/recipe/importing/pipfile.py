"""Read a ``Pipfile`` and its lock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, inner, read_json, read_toml, records, texts
from envbuilder.recipe.importing.indexes import ELSEWHERE, is_nightly, variant_of
from envbuilder.recipe.importing.locked import Locked, LockedPackage
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import git_reference, read_requirement
from envbuilder.recipe.importing.wanted import Imported, Wanted, read_marker, with_marker
from envbuilder.util.documents import Record

_NO_CATEGORY: Final = frozenset({"source", "packages", "requires", "pipenv", "scripts"})
_MARKERS: Final = (
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_version",
    "python_full_version",
    "implementation_name",
    "implementation_version",
)
"""Keys of a package that are PEP 508 markers."""
_DEV: Final = frozenset({"dev", "develop", "dev-packages"})


def read_pipfile(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read the ``Pipfile`` *path*; *groups* are categories of packages that count, too (``dev`` for dev-packages).

    Raises:
        RecipeError: it cannot be read, or has no such category.
    """
    document = read_toml(path)
    root = document.root
    found = Wanted()
    indexes = _indexes(records(root, "source"), document, found)
    categories = [key for key in root.value if key not in _NO_CATEGORY]
    taken = _taken(path, groups, categories)
    for category in ("packages", *categories):
        if category == "packages" or category in taken:
            packages = inner(root, category)
            for name in packages.value if packages is not None else ():
                assert packages is not None
                _package(name, packages, document, indexes, found)
        elif root.value[category]:
            found.remarks.append(document.locate(f"[{category}]").left_out(_why_not(category)))
    if "scripts" in root:
        found.remarks.append(document.locate("[scripts]").left_out("not part of a Python environment"))
    pipenv = inner(root, "pipenv")
    for key in pipenv.value if pipenv is not None else ():
        assert pipenv is not None
        line = document.key(key, key)
        if key == "allow_prereleases" and pipenv.boolean(key):
            found.prereleases = line
            found.remarks.append(line.changed("prereleases: true"))
        else:
            found.remarks.append(line.left_out("how Pipenv works, not what it installs"))
    return Imported(
        path=path,
        kind="a Pipfile",
        name=path.resolve().parent.name,
        wanted=found,
        python=_python(document, inner(root, "requires")),
    )


def read_pipfile_lock(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read the ``Pipfile.lock`` *path*; what the project asks for itself is taken from the Pipfile beside it.

    *groups* are categories of packages that count, too (``dev`` for dev-packages).

    Raises:
        RecipeError: it cannot be read, or has no such category.
    """
    document = read_json(path)
    root = document.root
    meta = root.record("_meta")
    found = Wanted()
    indexes = _indexes(records(meta, "sources"), document, found)
    categories = [key for key in root.value if key not in ("_meta", "default")]
    taken = _taken(path, groups, categories)
    packages = []
    for category in ("default", *categories):
        if category == "default" or category in taken:
            table = root.record(category)
            packages += [_locked(name, table.record(name), document, indexes) for name in table.value]
        elif root.value[category]:
            line = document.locate(category, f'"{category}"')
            found.remarks.append(line.left_out(_why_not(category)))
    beside = path.with_name("Pipfile")
    project = read_pipfile(beside, groups) if beside.is_file() else None
    imported = Locked(
        path=path,
        kind="a Pipfile.lock",
        name=path.resolve().parent.name,
        packages=tuple(packages),
        roots=None if project is None else project.wanted.requirements,
        python=_python(document, inner(meta, "requires")),
    ).imported()
    imported.wanted.remarks += found.remarks
    imported.wanted.indexes += found.indexes
    imported.wanted.explicit += found.explicit
    imported.wanted.nightly += found.nightly
    if project is not None and project.wanted.prereleases is not None:
        imported.wanted.prereleases = project.wanted.prereleases
    return imported


def _taken(path: Path, groups: Sequence[str], categories: Sequence[str]) -> set[str]:
    """Return the categories that *groups* name."""
    taken = set()
    for name in groups:
        wanted = canonicalize_name(name)
        fits = [
            one
            for one in categories
            if canonicalize_name(one) == wanted or (wanted in _DEV and canonicalize_name(one) in _DEV)
        ]
        if not fits:
            raise RecipeError(f"{path} has no category {name!r}")
        taken |= {*fits}
    return taken


def _why_not(category: str) -> str:
    if canonicalize_name(category) in _DEV:
        return "for development, not for serving: --group dev takes it"
    return f"a custom category: --group {category} takes it"


def _package(name: str, packages: Record, document: Document, indexes: dict[str, str], found: Wanted) -> None:
    if isinstance(packages.value[name], str):
        table = Record({"version": packages.value[name]}, packages.where)
    else:
        table = packages.record(name)
    version = table.text("version") if "version" in table and table.value["version"] else ""
    line = document.key(f"{name} {version}".strip(), name)
    text = _text(name, table, version, f"{document.path}, {name}")
    requirement = read_requirement(text, document.path.parent)
    if isinstance(requirement, str):
        found.remarks.append(line.left_out(requirement))
        return
    found.requirements.append((line, requirement))
    if "editable" in table:
        found.notes.append(line.changed("built into a wheel when the recipe is locked, not editable"))
    variant = variant_of(indexes.get(table.text("index") if "index" in table else "", ""))
    if variant is not None:
        found.own_index.append((requirement, variant))


def _locked(name: str, table: Record, document: Document, indexes: dict[str, str]) -> LockedPackage:
    version = (table.text("version") if "version" in table else "").removeprefix("==")
    return LockedPackage(
        name=name,
        version=version,
        line=document.key(f"{name} {version}".strip(), name),
        index=indexes.get(table.text("index") if "index" in table else "", ""),
        reference=_reference(table) or "",
        marker=table.text("markers") if "markers" in table else "",
    )


def _indexes(sources: Sequence[Record], document: Document, found: Wanted) -> dict[str, str]:
    """Return the addresses of the sources by name; packages that name none come from the first."""
    urls = {}
    for number, source in enumerate(sources):
        name = source.text("name") if "name" in source else ""
        url = source.text("url") if "url" in source else ""
        urls[name] = url
        line = document.locate(f"source {name}", url or f'"{name}"')
        variant = variant_of(url)
        if is_nightly(url):
            found.nightly.append(line)
        elif variant is not None:
            (found.explicit if number else found.indexes).append((line, variant))
        else:
            is_default = re.match(r"https?://pypi\.(?:python\.)?org/", url)
            found.remarks.append(line.carried() if is_default else line.left_out(ELSEWHERE))
    return urls


def _python(document: Document, requires: Record | None) -> SourceLine | None:
    for key in ("python_full_version", "python_version"):
        if requires is not None and key in requires:
            return document.key(requires.text(key), key)
    return None


def _text(name: str, table: Record, version: str, where: str) -> str:
    extras = f"[{','.join(texts(table, 'extras'))}]" if "extras" in table else ""
    markers = [table.text("markers")] if "markers" in table and table.value["markers"] else []
    markers += [f"{key} {table.text(key)}" for key in _MARKERS if key in table]
    for marker in markers:
        read_marker(marker, where)
    reference = _reference(table)
    place = f" @ {reference}" if reference else "" if version == "*" else version
    return with_marker(f"{name}{extras}{place}", markers)


def _reference(table: Record) -> str | None:
    if "git" in table:
        folder = table.text("subdirectory") if "subdirectory" in table else ""
        return git_reference(table.text("git"), table.text("ref") if "ref" in table else "", folder)
    return next((table.text(key) for key in ("file", "path") if key in table), None)
