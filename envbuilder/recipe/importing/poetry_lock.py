"""Read a ``poetry.lock``, with the project beside it for the direct requirements."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, inner, read_toml, records, texts
from envbuilder.recipe.importing.locked import Locked, LockedPackage, is_source_only
from envbuilder.recipe.importing.poetry_versions import alternatives, specifier
from envbuilder.recipe.importing.pyproject import read_pyproject
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import git_reference
from envbuilder.recipe.importing.wanted import Imported
from envbuilder.util.documents import Record

_EXTRA: Final = re.compile(r"""extra\s*(==|!=)\s*(['"])([^'"]+)\2""")


def read_poetry_lock(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read a ``poetry.lock``; the project's direct requirements are read from the pyproject.toml beside it.

    *groups* are groups and extras that count, too.

    Raises:
        RecipeError: it cannot be read, or there is no such group.
    """
    document = read_toml(path)
    project = _project(path.with_name("pyproject.toml"), groups)
    entries = document.root.records("package") if "package" in document.root else []
    extras = inner(document.root, "extras")
    wanted = {canonicalize_name(name) for name in groups}
    known = {canonicalize_name(name) for entry in entries for name in _groups(entry)}
    known |= {canonicalize_name(name) for name in (extras.value if extras is not None else ())}
    for name in groups:
        if project is None and canonicalize_name(name) not in known:
            raise RecipeError(f"{path} has no group or extra {name!r}")
    lock = _Lock(document, wanted)
    metadata = inner(document.root, "metadata")
    python = (
        metadata.text("python-versions") if metadata is not None and "python-versions" in metadata else ""
    )
    return Locked(
        path=path,
        kind="a poetry.lock",
        name=project.name if project is not None else path.resolve().parent.name,
        packages=tuple(lock.package(entry) for entry in entries),
        roots=None if project is None else project.wanted.requirements,
        python=_python(document, python),
    ).imported()


def _project(path: Path, groups: Sequence[str]) -> Imported | None:
    """Read the project of a lock; None: there is none, or it names no dependencies."""
    if not path.is_file():
        return None
    root = read_toml(path).root
    if inner(root, "project") is None and inner(root, "tool", "poetry", "dependencies") is None:
        return None
    return read_pyproject(path, groups)


def _python(document: Document, text: str) -> SourceLine | None:
    found = [specifier(one) for one in alternatives(text)]
    if not text or None in found:
        return None
    together = " || ".join(one for one in found if one)
    return document.locate(together, f'python-versions = "{text}"') if together else None


def _groups(entry: Record) -> tuple[str, ...]:
    """Return the groups for which a package is locked."""
    if "groups" in entry:
        return texts(entry, "groups")
    return (entry.text("category"),) if "category" in entry else ("main",)


class _Lock:
    def __init__(self, document: Document, wanted: Collection[str]) -> None:
        self.document, self.wanted = document, wanted
        self._names: Counter[str] = Counter()

    def package(self, entry: Record) -> LockedPackage:
        name, version = entry.text("name"), entry.text("version")
        source = inner(entry, "source")
        line = self.document.locate(f"{name} {version}", f'name = "{name}"', after=self._names[name])
        self._names[name] += 1
        groups = _groups(entry)
        taken = [one for one in groups if one == "main" or canonicalize_name(one) in self.wanted]
        files = [one.text("file") for one in records(entry, "files") if "file" in one]
        markers = self._marker(entry, taken)
        group = groups[0] if groups else ""
        not_taken = "" if taken else f"of the group {group}: --group {group} takes it"
        if taken and "optional" in entry and entry.boolean("optional") and not self.wanted:
            not_taken = "of an extra: --group NAME takes one"
        return LockedPackage(
            name=name,
            version=version,
            line=line,
            index=source.text("url") if source is not None and "url" in source else "",
            reference=_reference(source, self.document.path.parent),
            marker=markers,
            not_taken=not_taken,
            source_only=source is None and is_source_only(files),
        )

    def _marker(self, entry: Record, groups: Sequence[str]) -> str:
        """Return the marker of a package, evaluated for the selected extras."""
        if "markers" not in entry:
            return ""
        if isinstance(entry.value["markers"], str):
            found = [entry.text("markers")]
        else:
            table = entry.record("markers")
            if any(group not in table for group in groups):
                return ""  # one of the groups requires it unconditionally
            found = [table.text(group) for group in groups]
        answered = [_EXTRA.sub(self._is_taken, one) for one in found]
        return answered[0] if len(answered) == 1 else " or ".join(f"({one})" for one in answered)

    def _is_taken(self, match: re.Match[str]) -> str:
        taken = canonicalize_name(match[3]) in self.wanted
        return "os_name == 'posix'" if taken == (match[1] == "==") else "os_name == ''"


def _reference(source: Record | None, folder: Path) -> str:
    if source is None or "type" not in source:
        return ""
    kind, url = source.text("type"), source.text("url")
    if kind == "git":
        at = source.text("resolved_reference") if "resolved_reference" in source else ""
        return git_reference(url, at, source.text("subdirectory") if "subdirectory" in source else "")
    if kind in ("directory", "file"):
        return str((folder / url).absolute())
    return url if kind == "url" else ""
