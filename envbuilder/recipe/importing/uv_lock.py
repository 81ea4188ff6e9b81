"""Read a ``uv.lock``: the project's requirements and their dependencies, followed as uv does.

A lock contains every fork: for other platforms, for each Python, for conflicting extras. A server gets the packages
that can be reached from the project along dependencies whose markers apply there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, inner, read_toml, texts
from envbuilder.recipe.importing.locked import Locked, LockedPackage, is_source_only
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.wanted import (
    PYTHONS,
    Imported,
    for_pythons,
    parse,
    pythons_of,
    read_marker,
    with_marker,
)
from envbuilder.util.documents import Record

_NOT_TAKEN: Final = "nothing that is taken requires it on Linux, x86-64"
_CONFLICT: Final = re.compile(r"""extra\s*(==|!=)\s*(['"])((?:extra|group)-\d+-[^'"]+)\2""")
"""uv's form of a conflicting extra or group in a marker."""


def read_uv_lock(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read the ``uv.lock`` *path*; *groups* are extras and dependency groups of the project that count, too.

    Raises:
        RecipeError: it cannot be read, or has no such group.
    """
    document = read_toml(path)
    lock = _Lock(path=path, entries=document.root.records("package"), groups=groups)
    members = lock.members(document.root)
    if groups and not members:
        raise RecipeError(f"{path} names no project, and so no group or extra {groups[0]!r}")
    if members:
        lock.walk(members)
    root = document.root
    return Locked(
        path=path,
        kind="a uv.lock",
        name=members[0].text("name") if members else path.resolve().parent.name,
        packages=tuple(lock.package(number, document, members) for number in range(len(lock.entries))),
        roots=[(SourceLine(text=str(one), place=str(path)), one) for one in lock.roots] if members else None,
        python=document.key(root.text("requires-python"), "requires-python")
        if "requires-python" in root
        else None,
    ).imported()


@dataclass(kw_only=True, slots=True)
class _Lock:
    path: Path
    entries: list[Record]
    groups: Sequence[str]
    reached: dict[int, frozenset[str]] = field(default_factory=dict)
    """Entries by number, with the Pythons for which they are installed."""
    extras: dict[tuple[int, str], frozenset[str]] = field(default_factory=dict)
    """Extras of entries that were followed, with the Pythons."""
    roots: list[Requirement] = field(default_factory=list)
    by_name: dict[str, list[int]] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    """Selected extras and groups, in the form of uv's markers."""

    def __post_init__(self) -> None:
        for number, entry in enumerate(self.entries):
            self.by_name.setdefault(canonicalize_name(entry.text("name")), []).append(number)

    def members(self, root: Record) -> list[Record]:
        """Return the project, or the members of a workspace without a project at its root."""
        manifest = inner(root, "manifest")
        named = {canonicalize_name(name) for name in texts(manifest, "members")} if manifest else set()
        found = [
            entry
            for entry in self.entries
            if _place(entry) == "." or canonicalize_name(entry.text("name")) in named
        ]
        return [entry for entry in found if _place(entry) == "."] or found

    def walk(self, members: Sequence[Record]) -> None:
        """Follow the dependencies of *members*, with the selected groups and extras."""
        left = {canonicalize_name(name) for name in self.groups}
        for member in members:
            for kind, key in (("extra", "optional-dependencies"), ("group", "dev-dependencies")):
                table = inner(member, key)
                for name in table.value if table is not None else ():
                    if canonicalize_name(name) in {canonicalize_name(one) for one in self.groups}:
                        left.discard(canonicalize_name(name))
                        project = member.text("name")
                        self.active.add(f"{kind}-{len(project)}-{project}-{name}")
        if left:
            raise RecipeError(f"{self.path} has no group or extra {sorted(left)[0]!r}")
        ahead = [edge for member in members for edge in self._asked(member)]
        for edge, pythons in ahead:
            self._root(edge, pythons)
        while ahead:
            edge, pythons = ahead.pop()
            for number in self._targets(edge):
                ahead += self._reach(number, edge, pythons)

    def _asked(self, member: Record) -> Iterator[tuple[Record, frozenset[str]]]:
        wanted = {canonicalize_name(name) for name in self.groups}
        yield from self._edges(member, "dependencies", frozenset(PYTHONS))
        for key in ("optional-dependencies", "dev-dependencies"):
            table = inner(member, key)
            for name in table.value if table is not None else ():
                if table is not None and canonicalize_name(name) in wanted:
                    yield from self._edges(table, name, frozenset(PYTHONS))

    def _root(self, edge: Record, pythons: frozenset[str]) -> None:
        extras = f"[{','.join(texts(edge, 'extra'))}]" if "extra" in edge else ""
        found = parse(with_marker(f"{edge.text('name')}{extras}", [for_pythons(pythons)]))
        if not isinstance(found, str):
            self.roots.append(found)

    def _edges(
        self, record: Record, key: str, pythons: frozenset[str]
    ) -> list[tuple[Record, frozenset[str]]]:
        """Return the dependencies under *key* that apply to a server, each with its Pythons among *pythons*."""
        found = []
        for edge in record.records(key) if key in record else ():
            holds_for = pythons & self._pythons(edge.text("marker") if "marker" in edge else "")
            if holds_for:
                found.append((edge, holds_for))
        return found

    def _pythons(self, marker: str) -> frozenset[str]:
        text = _CONFLICT.sub(self._is_active, marker)
        return pythons_of(read_marker(text, str(self.path)))

    def _is_active(self, match: re.Match[str]) -> str:
        return "os_name == 'posix'" if (match[3] in self.active) == (match[1] == "==") else "os_name == ''"

    def _targets(self, edge: Record) -> list[int]:
        """Return the entries of a dependency: the only one of its name, or that with its version and source."""
        numbers = self.by_name.get(canonicalize_name(edge.text("name")), [])
        for key in ("version", "source"):
            if key in edge and len(numbers) > 1:
                numbers = [one for one in numbers if self.entries[one].value.get(key) == edge.value[key]]
        return numbers

    def _reach(
        self, number: int, edge: Record, pythons: frozenset[str]
    ) -> list[tuple[Record, frozenset[str]]]:
        """Mark an entry as installed for *pythons*; return its dependencies that were not followed yet."""
        entry = self.entries[number]
        ahead = []
        before = self.reached.get(number, frozenset())
        mine = pythons & self._forks(entry)
        if mine - before:
            self.reached[number] = before | mine
            ahead += self._edges(entry, "dependencies", mine)
        optional = inner(entry, "optional-dependencies")
        for extra in texts(edge, "extra"):
            done = self.extras.get((number, extra), frozenset())
            if optional is not None and mine - done:
                self.extras[number, extra] = done | mine
                ahead += self._edges(optional, extra, mine)
        return ahead

    def _forks(self, entry: Record) -> frozenset[str]:
        """Return the Pythons for which an entry applies on a server."""
        markers = texts(entry, "resolution-markers")
        if not markers:
            return frozenset(PYTHONS)
        return frozenset().union(*(self._pythons(marker) for marker in markers))

    def package(self, number: int, document: Document, members: Sequence[Record]) -> LockedPackage:
        """Convert an entry to the common form of locks."""
        entry = self.entries[number]
        pythons = self.reached.get(number, frozenset()) if members else self._forks(entry)
        name = entry.text("name")
        version = entry.text("version") if "version" in entry else ""
        source = inner(entry, "source")
        place = _place(entry)
        itself = any(entry is member for member in members) and (place == "." or number not in self.reached)
        not_taken = "" if pythons else _NOT_TAKEN
        if source is not None and "virtual" in source and not itself:
            not_taken = "no package: only what it asks for is taken"
        files = [
            next((one.text(key) for key in ("url", "path", "filename") if key in one), "")
            for one in (*_files(entry, "wheels"), *_files(entry, "sdist"))
        ]
        return LockedPackage(
            name=name,
            version=version,
            line=document.locate(
                f"{name} {version}".strip(), f'name = "{name}"', after=self._before(number, name)
            ),
            index=source.text("registry") if source is not None and "registry" in source else "",
            reference=_reference(source) if source is not None else "",
            marker=for_pythons(pythons) if pythons else "",
            itself=itself,
            not_taken=not_taken,
            source_only=source is not None and "registry" in source and is_source_only(files),
        )

    def _before(self, number: int, name: str) -> int:
        """Return how many entries of the same name precede one."""
        return self.by_name[canonicalize_name(name)].index(number)


def _files(entry: Record, key: str) -> list[Record]:
    if key not in entry:
        return []
    return entry.records(key) if isinstance(entry.value[key], list) else [entry.record(key)]


def _place(entry: Record) -> str | None:
    """Return the folder of a project that the lock was made for; None for a package of an index."""
    source = inner(entry, "source")
    for key in ("virtual", "editable") if source is not None else ():
        if source is not None and key in source:
            return source.text(key)
    return None


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
