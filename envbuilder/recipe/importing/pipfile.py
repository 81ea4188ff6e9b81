"""A ``Pipfile``, and its lock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from envbuilder.recipe.importing.documents import Document, read_json, read_toml, tables
from envbuilder.recipe.importing.locked import Locked, LockedPackage
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import ELSEWHERE, read_requirement, variant_of
from envbuilder.recipe.importing.wanted import Imported, Wanted, with_marker


def read_pipfile(path: Path) -> Imported:
    """Read the ``Pipfile`` *path*.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_toml(path)
    found = Wanted()
    indexes = _indexes(tables(document.root.value.get("source")), document, found)
    packages = document.root.record("packages").value if "packages" in document.root else {}
    for name, value in packages.items():
        table: Mapping[str, Any] = value if isinstance(value, dict) else {"version": str(value)}
        said = document.said(f"{name} {table.get('version', '')}".strip(), f"{name} =")
        variant = variant_of(indexes.get(str(table.get("index", "")), ""))
        if variant is not None:
            found.own_index[canonicalize_name(name)] = variant
        requirement = read_requirement(_text(name, table), path.parent)
        if isinstance(requirement, str):
            found.remarks.append(said.left_out(requirement))
        else:
            found.requirements.append((said, requirement))
    if "dev-packages" in document.root and document.root.value["dev-packages"]:
        said = document.said("[dev-packages]")
        found.remarks.append(said.left_out("for development, not for serving"))
    for key in document.root.value:
        if key not in ("source", "packages", "dev-packages", "requires", "pipenv"):
            why = (
                "not part of a Python environment"
                if key == "scripts"
                else "a custom category: not for serving"
            )
            found.remarks.append(document.said(f"[{key}]").left_out(why))
    pipenv = document.root.value.get("pipenv")
    if isinstance(pipenv, dict) and pipenv.get("allow_prereleases") is True:
        found.prereleases = document.said("allow_prereleases")
        found.remarks.append(found.prereleases.changed("prereleases: true"))
    return Imported(
        path=path,
        kind="a Pipfile",
        name=path.resolve().parent.name,
        wanted=found,
        python=_python(document, document.root.value.get("requires")),
    )


def read_pipfile_lock(path: Path) -> Imported:
    """Read the ``Pipfile.lock`` *path*; what the project asks for itself is taken from the Pipfile beside it.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_json(path)
    meta = document.root.record("_meta")
    found = Wanted()
    indexes = _indexes(tables(meta.value.get("sources")), document, found)
    packages = []
    for name, entry in document.root.record("default").value.items():
        table: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        version = str(table.get("version", "")).removeprefix("==")
        packages.append(
            LockedPackage(
                name=name,
                version=version,
                said=document.said(f"{name} {version}".strip(), f'"{name}": {{'),
                index=indexes.get(str(table.get("index", "")), ""),
                reference=_reference(table) or "",
                marker=str(table.get("markers", "")),
            )
        )
    beside = path.with_name("Pipfile")
    project = read_pipfile(beside) if beside.is_file() else None
    imported = Locked(
        path=path,
        kind="a Pipfile.lock",
        name=path.resolve().parent.name,
        packages=tuple(packages),
        roots=None if project is None else project.wanted.requirements,
        python=_python(document, meta.value.get("requires")),
    ).imported()
    imported.wanted.remarks += found.remarks
    if document.root.value.get("develop"):
        said = document.said("develop", '"develop"')
        imported.wanted.remarks.append(said.left_out("for development, not for serving"))
    return imported


def _indexes(sources: list[Mapping[str, Any]], document: Document, found: Wanted) -> dict[str, str]:
    urls = {}
    for source in sources:
        name, url = str(source.get("name", "")), str(source.get("url", ""))
        urls[name] = url
        if variant_of(url) is None and "pypi.org" not in url:
            said = document.said(f"source {name}", url)
            found.remarks.append(said.left_out(ELSEWHERE))
    return urls


def _python(document: Document, requires: object) -> Said | None:
    if not isinstance(requires, dict):
        return None
    for key in ("python_full_version", "python_version"):
        if key in requires:
            return document.said(str(requires[key]), key)
    return None


def _text(name: str, table: Mapping[str, Any]) -> str:
    extras = f"[{','.join(map(str, table['extras']))}]" if table.get("extras") else ""
    version = "" if table.get("version", "*") == "*" else str(table["version"])
    markers = [str(table.get("markers", ""))]
    markers += [
        f"{key} {table[key]}" for key in ("sys_platform", "python_version", "platform_system") if key in table
    ]
    reference = _reference(table)
    return with_marker(f"{name}{extras}" + (f" @ {reference}" if reference else version), markers)


def _reference(table: Mapping[str, Any]) -> str | None:
    if "git" in table:
        at = f"@{table['ref']}" if "ref" in table else ""
        folder = f"#subdirectory={table['subdirectory']}" if "subdirectory" in table else ""
        return f"git+{str(table['git']).removeprefix('git+')}{at}{folder}"
    return next((str(table[key]) for key in ("file", "path") if key in table), None)
