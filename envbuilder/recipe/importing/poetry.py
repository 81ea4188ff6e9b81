"""Read Poetry's tables of a ``pyproject.toml``: its own dependencies, or details of those in [project]."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.recipe.importing.documents import Document, inner, records, texts
from envbuilder.recipe.importing.indexes import ELSEWHERE, is_nightly, variant_of
from envbuilder.recipe.importing.poetry_versions import (
    alternatives,
    platform_marker,
    python_marker,
    specifier,
)
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import git_reference, narrowed, read_requirement
from envbuilder.recipe.importing.wanted import Wanted, parse, pythons_of, read_marker, with_marker
from envbuilder.util.documents import Record

_DEPENDENCIES: Final = frozenset({"dependencies", "dev-dependencies", "group", "extras", "source", "name"})
_ALTERNATIVES: Final = "alternatives (||) have no PEP 508 form: choose one"
_DETAILS: Final = "[project] names the dependencies: Poetry takes only details of those from here"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dependency:
    """One constraint of a dependency."""

    line: SourceLine
    table: Record
    markers: tuple[str, ...]
    reference: str
    version: str
    """In PEP 440 form."""
    variant: str | None
    """The variant of the index that only this dependency uses."""


class Poetry:
    """The table ``tool.poetry``; its requirements are added to *found*."""

    def __init__(self, document: Document, table: Record, found: Wanted) -> None:
        self.document, self.table, self.found = document, table, found
        self._sources: dict[str, str] = {}
        self.dependencies = inner(table, "dependencies")
        for source in records(table, "source"):
            self._source(source)

    @property
    def groups(self) -> dict[str, Record]:
        """Its dependency groups, by name."""
        found = {}
        table = inner(self.table, "group")
        for name in table.value if table is not None else ():
            assert table is not None
            found[name] = table.record(name)
        if "dev-dependencies" in self.table:
            before = {"dependencies": self.table.record("dev-dependencies").value}
            found.setdefault("dev", Record(before, self.table.where))
        return found

    @property
    def extras(self) -> dict[str, tuple[str, ...]]:
        """Its extras: names of optional dependencies."""
        table = inner(self.table, "extras")
        return {} if table is None else {name: texts(table, name) for name in table.value}

    def python(self) -> SourceLine | None:
        """Return the versions of Python that it allows, in PEP 440 form; alternatives are separated by ``||``."""
        if self.dependencies is None or "python" not in self.dependencies:
            return None
        value = self.dependencies.value["python"]
        table = self.dependencies.record("python") if isinstance(value, dict) else self.dependencies
        text = table.text("version" if isinstance(value, dict) else "python")
        line = self.document.key(text, "python")
        found = [specifier(one) for one in alternatives(text)]
        if None in found:
            self.found.remarks.append(line.left_out(_no_constraint(text)))
            return None
        together = " || ".join(one for one in found if one)
        if not together:
            self.found.remarks.append(line.carried())
            return None
        return SourceLine(text=together, place=line.place)

    # -- its own dependencies ----------------------------------------------------------------------

    def require_main(self, optional: Collection[str]) -> None:
        """Add its dependencies, of the optional ones only those in *optional*."""
        if self.dependencies is not None:
            for name in self.dependencies.value:
                if name != "python":
                    self._require(self.dependencies, name, optional)

    def require_group(self, name: str, inside: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Add the dependencies of the group *name* and the groups that it includes; return these groups."""
        group = self.groups.get(name)
        if group is None or name in inside:
            return ()
        dependencies = inner(group, "dependencies")
        for one in dependencies.value if dependencies is not None else ():
            assert dependencies is not None
            self._require(dependencies, one, ())
        taken = [name]
        for other in texts(group, "include-groups"):
            taken += self.require_group(other, (*inside, name))
        return tuple(taken)

    def leave_details(self, names: Collection[str]) -> None:
        """Add remarks on dependencies that are not among the *names* of [project]: Poetry ignores them."""
        for name in self.dependencies.value if self.dependencies is not None else ():
            if name != "python" and canonicalize_name(name) not in names:
                self.found.remarks.append(self._key(name, name).left_out(_DETAILS))

    def _require(self, dependencies: Record, name: str, optional: Collection[str]) -> None:
        for line, table in self._tables(dependencies, name):
            if "optional" in table and table.boolean("optional") and canonicalize_name(name) not in optional:
                self.found.remarks.append(line.left_out(self._optional(name)))
                continue
            one = self._read(line, table)
            if one is None:
                continue
            extras = f"[{','.join(texts(table, 'extras'))}]" if "extras" in table else ""
            place = f" @ {one.reference}" if one.reference else one.version
            text = with_marker(f"{name}{extras}{place}", one.markers)
            asked = str(table.value.get("version", "")).replace(" ", "")
            if one.version and not one.reference and one.version != asked:
                self.found.notes.append(line.changed(text))
            requirement = read_requirement(text, self.document.path.parent)
            if isinstance(requirement, str):
                self.found.remarks.append(line.left_out(requirement))
                continue
            self._add(line, requirement, one)

    def _add(self, line: SourceLine, requirement: Requirement, one: _Dependency) -> None:
        self.found.requirements.append((line, requirement))
        if one.variant is not None:
            self.found.own_index.append((requirement, one.variant))
        if "allow-prereleases" in one.table and one.table.boolean("allow-prereleases"):
            how = "without its allow-prereleases: `prereleases: true` allows them for all packages"
            self.found.notes.append(line.changed(how))

    def _optional(self, name: str) -> str:
        for extra, names in self.extras.items():
            if canonicalize_name(name) in {canonicalize_name(one) for one in names}:
                return f"optional: --group {extra} takes it"
        return "optional: add it to the dependencies"

    # -- details of what [project] names -----------------------------------------------------------

    def detail(self, line: SourceLine, requirement: Requirement) -> bool:
        """Add *requirement* with the details of Poetry's table; return False if it has none."""
        name = canonicalize_name(requirement.name)
        ways: list[_Dependency] = []
        for own in self.dependencies.value if self.dependencies is not None else ():
            assert self.dependencies is not None
            if canonicalize_name(own) == name and name != "python":
                read = [self._read(place, table) for place, table in self._tables(self.dependencies, own)]
                ways += [one for one in read if one is not None]
        held = [one for one in ways if self._holds(one)]
        for one in held:
            self._detailed(line, requirement, one)
        return bool(held)

    def _holds(self, one: _Dependency) -> bool:
        marker = " and ".join(f"({part})" for part in one.markers if part)
        return bool(pythons_of(read_marker(marker, one.line.place)))

    def _detailed(self, line: SourceLine, requirement: Requirement, one: _Dependency) -> None:
        marker = " and ".join(f"({part})" for part in one.markers if part)
        extras = {*requirement.extras, *texts(one.table, "extras")}
        shown = f"[{','.join(sorted(extras))}]" if extras else ""
        if one.reference:
            text = f"{requirement.name}{shown} @ {one.reference}"
            found = read_requirement(text, self.document.path.parent)
        else:
            limits = ",".join(part for part in (str(requirement.specifier), one.version) if part)
            found = parse(f"{requirement.name}{shown}{limits}") if requirement.url is None else requirement
        if isinstance(found, str):
            self.found.remarks.append(line.left_out(found))
            return
        found = narrowed(narrowed(found, str(requirement.marker or "")), marker)
        if str(found) != str(requirement):
            self.found.notes.append(line.changed(f"with Poetry's details: {one.reference or found}"))
        self._add(line, found, one)

    # -- reading -----------------------------------------------------------------------------------

    def _tables(self, dependencies: Record, name: str) -> Iterator[tuple[SourceLine, Record]]:
        """Yield the constraints of *name*: a version, a table, or tables for several platforms."""
        value = dependencies.value[name]
        if isinstance(value, str):
            yield self._key(f"{name} {value}".strip(), name), Record({"version": value}, dependencies.where)
            return
        for table in records(dependencies, name):
            # Several constraints are distinguished by their text.
            keys = ", ".join(f"{key} {value}" for key, value in table.value.items())
            shown = keys if isinstance(value, list) else ", ".join(table.value)
            yield self._key(f"{name} {shown}".strip(), name), table

    def _key(self, text: str, name: str) -> SourceLine:
        return self.document.key(text, name)

    def _read(self, line: SourceLine, table: Record) -> _Dependency | None:
        """Return one constraint; None, with a remark, if a recipe cannot express it."""
        text = table.text("version") if "version" in table and table.value["version"] else "*"
        version = specifier(text)
        if version is None:
            why = _ALTERNATIVES if len(alternatives(text)) > 1 else _no_constraint(text)
            self.found.remarks.append(line.left_out(why))
            return None
        markers = [table.text("markers")] if "markers" in table and table.value["markers"] else []
        for key, read in (("python", python_marker), ("platform", platform_marker)):
            if key in table:
                marker = read(table.text(key))
                if marker is None:
                    self.found.remarks.append(line.left_out(_no_constraint(table.text(key))))
                    return None
                markers.append(marker)
        for marker in markers:
            read_marker(marker, f"{self.document.path}, {line.text}")
        source = table.text("source") if "source" in table else ""
        return _Dependency(
            line=line,
            table=table,
            markers=tuple(markers),
            reference=_reference(table),
            version=version,
            variant=variant_of(self._sources.get(source, "")),
        )

    def _source(self, source: Record) -> None:
        """Read an index of the project; only PyTorch's are relevant to a recipe."""
        name = source.text("name") if "name" in source else ""
        url = source.text("url") if "url" in source else ""
        self._sources[name] = url
        line = self.document.locate(f"source {name}", url or f'"{name}"')
        variant = variant_of(url)
        explicit = "priority" in source and source.text("priority") == "explicit"
        if is_nightly(url):
            self.found.nightly.append(line)
        elif variant is None:
            self.found.remarks.append(line.left_out(ELSEWHERE))
        else:
            (self.found.explicit if explicit else self.found.indexes).append((line, variant))

    def tell_rest(self) -> None:
        """Add remarks on its other keys, which are not part of an environment."""
        rest = [key for key in self.table.value if key not in _DEPENDENCIES]
        if rest:
            line = self.document.key(", ".join(rest), rest[0])
            self.found.remarks.append(line.left_out("about the project, not of its environment"))


def _no_constraint(text: str) -> str:
    return f"{text!r} is not a version constraint of Poetry's"


def _reference(table: Record) -> str:
    if "git" in table:
        at = next((table.text(key) for key in ("rev", "tag", "branch") if key in table), "")
        return git_reference(
            table.text("git"), at, table.text("subdirectory") if "subdirectory" in table else ""
        )
    return next((table.text(key) for key in ("url", "path", "file") if key in table), "")
