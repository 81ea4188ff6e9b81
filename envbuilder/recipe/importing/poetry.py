"""Poetry's part of a ``pyproject.toml``, and its lock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, read_toml, tables
from envbuilder.recipe.importing.locked import Locked, LockedPackage
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import ELSEWHERE, read_requirement, variant_of
from envbuilder.recipe.importing.wanted import Imported, Wanted, with_marker
from envbuilder.util.documents import Record


def read_poetry(document: Document, groups: Sequence[str] = ()) -> Imported:
    """Read the table ``tool.poetry`` of *document*; *groups* are groups and extras that count, too.

    Raises:
        RecipeError: there is no such group.
    """
    poetry = document.root.record("tool").record("poetry")
    found = Wanted()
    reader = _Reader(document, found, _sources(document, poetry, found))
    python = None
    wanted = {canonicalize_name(name) for name in groups}
    for name, value in poetry.value.get("dependencies", {}).items():
        if name == "python":
            python = document.said(specifier(str(value)) or "", "python")
            continue
        reader.dependency(name, value)
    for name, text in _dependency_groups(poetry):
        if canonicalize_name(name) in wanted:
            wanted.discard(canonicalize_name(name))
            for one, value in text.items():
                reader.dependency(one, value)
        else:
            said = document.said(f"{name} (dependency group)", f"group.{name}")
            found.remarks.append(said.left_out(f"a dependency group: --group {name} takes it"))
    if wanted:
        raise RecipeError(f"{document.path} has no group {sorted(wanted)[0]!r}")
    name = str(poetry.value.get("name") or document.path.resolve().parent.name)
    return Imported(path=document.path, kind="a Poetry project", name=name, wanted=found, python=python)


def read_poetry_lock(path: Path) -> Imported:
    """Read a ``poetry.lock``; what the project itself asks for is taken from the pyproject.toml beside it.

    Raises:
        RecipeError: it cannot be read.
    """
    document = read_toml(path)
    packages = []
    for entry in document.root.records("package"):
        source = entry.record("source") if "source" in entry else None
        groups = entry.texts("groups") if "groups" in entry else ("main",)
        if "main" not in groups or entry.value.get("category") not in (None, "main"):
            continue
        packages.append(
            LockedPackage(
                name=entry.text("name"),
                version=entry.text("version"),
                said=document.said(
                    f"{entry.text('name')} {entry.text('version')}", f'name = "{entry.text("name")}"'
                ),
                index=source.text("url") if source is not None and "url" in source else "",
                reference=_locked_reference(source, path.parent),
                marker=_marker(entry.value.get("markers")),
            )
        )
    beside = path.with_name("pyproject.toml")
    project = read_poetry_project(beside) if beside.is_file() else None
    metadata = document.root.record("metadata") if "metadata" in document.root else None
    python = (
        metadata.text("python-versions") if metadata is not None and "python-versions" in metadata else ""
    )
    return Locked(
        path=path,
        kind="a poetry.lock",
        name=project.name if project is not None else path.resolve().parent.name,
        packages=tuple(packages),
        roots=None if project is None else project.wanted.requirements,
        python=document.said(specifier(python) or "", f'python-versions = "{python}"') if python else None,
    ).imported()


def read_poetry_project(path: Path) -> Imported | None:
    """Read the Poetry project or PEP 621 project that a lock belongs to; None: the file names no dependencies."""
    document = read_toml(path)
    tool = document.root.value.get("tool")
    if isinstance(tool, dict) and "poetry" in tool and "dependencies" in tool["poetry"]:
        return read_poetry(document)
    if "project" not in document.root:
        return None
    project, found = document.root.record("project"), Wanted()
    for text in project.texts("dependencies") if "dependencies" in project else ():
        found.require(document.said(text), text)
    name = project.text("name") if "name" in project else path.parent.name
    return Imported(path=path, kind="a project", name=name, wanted=found)


def specifier(text: str) -> str | None:
    """Return Poetry's version constraint *text* as PEP 440 says it; ``*`` is empty. None: PEP 440 cannot say it."""
    if "||" in text or " or " in text:
        return None
    parts = []
    for part in re.split(r"\s*,\s*|\s+(?=[<>=^~!])", text.strip()):
        converted = _part(part.replace(" ", ""))
        if converted is None:
            return None
        parts.append(converted)
    return ",".join(part for part in parts if part)


def _part(part: str) -> str | None:
    if part in ("", "*"):
        return ""
    if re.fullmatch(r"\d[\d.]*\.\*", part):
        return f"=={part}"
    match = re.fullmatch(r"(\^|~(?!=)|)(\d[\w.+!-]*)", part)
    if match is None:
        return part if re.fullmatch(r"(===?|!=|<=?|>=?|~=)\d[\w.*+!-]*", part) else None
    sign, number = match.groups()
    try:
        release = Version(number).release
    except InvalidVersion:
        return None
    if sign == "":
        return f"=={number}"
    if sign == "~":
        kept = release[:2]
        above = (*kept[:-1], kept[-1] + 1) if len(kept) > 1 else (kept[0] + 1,)
    else:
        first = next((index for index, one in enumerate(release) if one), len(release) - 1)
        above = (*release[:first], release[first] + 1)
    return f">={number},<{'.'.join(map(str, above))}"


def _marker(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("main", ""))
    return str(value) if value else ""


def _locked_reference(source: Record | None, folder: Path) -> str:
    if source is None or "type" not in source:
        return ""
    kind, url = source.text("type"), source.text("url")
    if kind == "git":
        reference = source.text("resolved_reference") if "resolved_reference" in source else ""
        return f"git+{url}@{reference}" if reference else f"git+{url}"
    if kind in ("directory", "file"):
        return str((folder / url).absolute())
    return url if kind == "url" else ""


def _sources(document: Document, poetry: Record, found: Wanted) -> dict[str, str]:
    """Return the indexes that the project names; where they are is no part of a recipe."""
    urls = {}
    for source in tables(poetry.value.get("source")):
        name, url = str(source.get("name", "")), str(source.get("url", ""))
        urls[name] = url
        if variant_of(url) is None:
            said = document.said(f"source {name}", url)
            found.remarks.append(said.left_out(ELSEWHERE))
    return urls


def _dependency_groups(poetry: Record) -> list[tuple[str, dict[str, Any]]]:
    groups = [
        (str(name), group["dependencies"])
        for name, group in poetry.value.get("group", {}).items()
        if isinstance(group, dict) and isinstance(group.get("dependencies"), dict)
    ]
    before = poetry.value.get("dev-dependencies")
    return [*groups, ("dev", before)] if isinstance(before, dict) else groups


class _Reader:
    def __init__(self, document: Document, found: Wanted, sources: dict[str, str]) -> None:
        self.document, self.found, self.sources = document, found, sources

    def dependency(self, name: str, value: object) -> None:
        """Take in one dependency: a constraint, a table, or a list of tables for several platforms."""
        for one in value if isinstance(value, list) else [value]:
            table: dict[str, Any] = one if isinstance(one, dict) else {"version": str(one)}
            shown = table.get("version", "") if set(table) == {"version"} else ", ".join(map(str, table))
            said = self.document.said(f"{name} {shown}".strip(), f"{name} =")
            if said.place == str(self.document.path):
                said = self.document.said(said.text, name)
            self._one(name, table, said)

    def _one(self, name: str, table: dict[str, Any], said: Said) -> None:
        if table.get("optional"):
            self.found.remarks.append(said.left_out("optional: add it to the dependencies"))
            return
        extras = f"[{','.join(map(str, table['extras']))}]" if table.get("extras") else ""
        python = specifier(str(table.get("python", "")))
        marker = " and ".join(_python_marker(part) for part in (python or "").split(",") if part)
        markers = [str(table.get("markers", "")), marker]
        reference = self._reference(table)
        if reference is not None:
            text = with_marker(f"{name}{extras} @ {reference}", markers)
        else:
            version = specifier(str(table.get("version", "*")))
            if version is None:
                self.found.remarks.append(said.left_out("alternatives (||) have no PEP 508 form: choose one"))
                return
            text = with_marker(f"{name}{extras}{version}", markers)
            if version != str(table.get("version", "")).replace(" ", "") and version:
                self.found.remarks.append(said.changed(text))
        variant = variant_of(self.sources.get(str(table.get("source", "")), ""))
        if variant is not None:
            self.found.own_index[canonicalize_name(name)] = variant
        requirement = read_requirement(text, self.document.path.parent)
        if isinstance(requirement, str):
            self.found.remarks.append(said.left_out(requirement))
        else:
            self.found.requirements.append((said, requirement))

    def _reference(self, table: dict[str, Any]) -> str | None:
        if "git" in table:
            at = next((f"@{table[key]}" for key in ("rev", "tag", "branch") if key in table), "")
            folder = f"#subdirectory={table['subdirectory']}" if "subdirectory" in table else ""
            return f"git+{table['git']}{at}{folder}"
        return next((str(table[key]) for key in ("url", "path", "file") if key in table), None)


def _python_marker(part: str) -> str:
    match = re.fullmatch(r"(===?|!=|<=?|>=?|~=)(.+)", part)
    assert match is not None  # it is one of specifier()'s
    long = match[2].count(".") > 1
    return f'{"python_full_version" if long else "python_version"} {match[1]} "{match[2]}"'
