"""Read uv's table of a ``pyproject.toml``: sources, indexes and constraints."""

from __future__ import annotations

from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.catalog.python_backend import NEEDED
from envbuilder.recipe.importing.documents import Document, inner, records, shown_value, texts
from envbuilder.recipe.importing.indexes import ELSEWHERE, is_nightly, variant_of
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import git_reference, narrowed, read_requirement
from envbuilder.recipe.importing.wanted import PYTHONS, Wanted, for_pythons, pythons_of, read_marker
from envbuilder.util.documents import Record

_READ: Final = frozenset(
    {
        "sources",
        "index",
        "constraint-dependencies",
        "exclude-dependencies",
        "prerelease",
        "no-binary-package",
    }
)
_ANY_VERSION: Final = "a recipe does not limit versions by their date: pin what must not be newer"
_WITHOUT_EFFECT: Final = {
    "default-groups": "groups are named: --group NAME",
    "environments": "Triton's servers are Linux on x86-64",
    "required-environments": "Triton's servers are Linux on x86-64",
    "package": "the project itself is not part of its dependencies",
    "managed": "how uv treats the project",
    "workspace": "members of a workspace are named as dependencies",
    "conflicts": "name one of the groups that exclude each other",
    "override-dependencies": "a recipe cannot override what packages require: use constraints, or exclude-dependencies",
    "build-constraint-dependencies": "limits of builds, not of the environment",
    "no-build": "a recipe takes wheels only, unless build-from-source names a project",
    "no-binary": "it names no project: list those to build from source under build-from-source",
    "resolution": "a lock takes the newest versions: pin lower ones",
    "exclude-newer": _ANY_VERSION,
    "exclude-newer-package": _ANY_VERSION,
    "pip": "settings of `uv pip`, not of the project",
    "index-strategy": ELSEWHERE,
    "index-url": f"{ELSEWHERE}: index-url",
    "extra-index-url": f"{ELSEWHERE}: extra-index-urls",
    "find-links": f"{ELSEWHERE}: find-links",
}


class Uv:
    """The table ``tool.uv``; its content is added to *found*."""

    def __init__(self, document: Document, table: Record, found: Wanted) -> None:
        self.document, self.table, self.found = document, table, found
        self._indexes: dict[str, str] = {}
        self._sources: dict[str, list[tuple[SourceLine, Record]]] = {}
        self._used: set[SourceLine] = set()
        for index in records(table, "index"):
            self._index(index)
        sources = inner(table, "sources")
        for name in sources.value if sources is not None else ():
            assert sources is not None
            self._sources[canonicalize_name(name)] = [
                (self._said_source(name, source), source) for source in records(sources, name)
            ]

    def place(self, line: SourceLine, requirement: Requirement, *, extra: str = "", group: str = "") -> None:
        """Add *requirement* of *extra* or *group*, with its source from the table.

        A source may be limited to platforms, or to one extra or group. If none applies, uv uses its indexes.
        """
        covered: set[str] = set()
        for place, source in self._sources.get(canonicalize_name(requirement.name), ()):
            if not (_is_for(source, "extra", extra) and _is_for(source, "group", group)):
                continue
            where = f"{self.document.path}, tool.uv.sources.{requirement.name}"
            marker = source.text("marker") if "marker" in source else ""
            pythons = pythons_of(read_marker(marker, where))
            self._used.add(place)
            if not pythons:
                self.found.remarks.append(place.left_out("not for Linux, x86-64"))
                continue
            covered |= pythons
            self._from(line, narrowed(requirement, for_pythons(pythons)), source)
        left = [python for python in PYTHONS if python not in covered]
        if left:
            self.found.requirements.append((line, narrowed(requirement, for_pythons(left))))

    def _from(self, line: SourceLine, requirement: Requirement, source: Record) -> None:
        if "index" in source:
            variant = variant_of(self._indexes.get(source.text("index"), ""))
            if variant is not None:
                self.found.own_index.append((requirement, variant))
            else:
                how = f"from whichever index envbuilder.toml names, not {source.text('index')}"
                self.found.notes.append(line.changed(how))
            self.found.requirements.append((line, requirement))
            return
        reference = _reference(source)
        if reference is None:
            self.found.remarks.append(
                line.left_out("a member of a workspace: name its folder (NAME @ ./folder)")
            )
            return
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        found = read_requirement(f"{requirement.name}{extras} @ {reference}", self.document.path.parent)
        if isinstance(found, str):
            self.found.remarks.append(line.left_out(found))
            return
        self.found.notes.append(line.changed(f"with its source: {reference}"))
        self.found.requirements.append((line, narrowed(found, str(requirement.marker or ""))))

    def tell_rest(self) -> None:
        """Add constraints on versions, and remarks on the rest."""
        for text in texts(self.table, "constraint-dependencies"):
            self.found.constrain(self.document.quoted(text), text)
        if "prerelease" in self.table:
            self._prerelease(self.table.text("prerelease"))
        for name in texts(self.table, "no-binary-package"):
            self.found.build.append(name)
            line = self.document.locate(name, "no-binary-package")
            self.found.remarks.append(line.changed(f"build-from-source: [{name}]"))
        for name in texts(self.table, "exclude-dependencies"):
            self._exclude(name)
        for sources in self._sources.values():
            self.found.remarks += [
                place.left_out(_unused(source)) for place, source in sources if place not in self._used
            ]
        for key in self.table.value:
            if key not in _READ and key != "dev-dependencies":
                why = _WITHOUT_EFFECT.get(key, "recipes have no such setting")
                self.found.remarks.append(self.document.key(f"tool.uv.{key}", key).left_out(why))

    def _exclude(self, name: str) -> None:
        line = self.document.locate(name, "exclude-dependencies")
        if canonicalize_name(name) in self.found.names():
            why = "the project itself requires it: remove it from its dependencies"
            self.found.remarks.append(line.left_out(why))
        elif canonicalize_name(name) in NEEDED:
            self.found.remarks.append(line.left_out("no server runs a model without it"))
        else:
            self.found.excluded.append(name)
            self.found.remarks.append(line.carried())

    def _prerelease(self, value: str) -> None:
        line = self.document.key(f"prerelease = {value}", "prerelease")
        if value == "allow":
            self.found.prereleases = line
            self.found.remarks.append(line.changed("prereleases: true"))
        elif value in ("explicit", "if-necessary-or-explicit"):
            self.found.remarks.append(line.carried())
        else:
            why = "a recipe takes a pre-release where a version names it, or any (prereleases: true)"
            self.found.remarks.append(line.left_out(why))

    def _index(self, index: Record) -> None:
        name = index.text("name") if "name" in index else ""
        url = index.text("url") if "url" in index else ""
        self._indexes[name] = url
        line = self.document.locate(f"index {name}".strip(), url or f'"{name}"')
        variant = variant_of(url)
        explicit = "explicit" in index and index.boolean("explicit")
        if is_nightly(url):
            self.found.nightly.append(line)
        elif variant is None:
            self.found.remarks.append(line.left_out(ELSEWHERE))
        else:
            (self.found.explicit if explicit else self.found.indexes).append((line, variant))

    def _said_source(self, name: str, source: Record) -> SourceLine:
        key = next((key for key in ("index", "git", "url", "path", "workspace") if key in source), "")
        value = shown_value(source, key) if key else ""
        conditions = [source.text(one) for one in ("extra", "group", "marker") if one in source]
        line = f"{name} from {value}" + (f" ({', '.join(conditions)})" if conditions else "")
        needles = [f'"{one}"' for one in conditions if '"' not in one]
        found = self.document.locate(line, key, f'"{value}"', *needles)
        return found if found.place != str(self.document.path) else self.document.key(line, name)


def _is_for(source: Record, key: str, name: str) -> bool:
    return key not in source or (
        name != "" and canonicalize_name(source.text(key)) == canonicalize_name(name)
    )


def _unused(source: Record) -> str:
    for key, what in (("extra", "the extra"), ("group", "the group")):
        if key in source:
            return f"for {what} {source.text(key)}, which is not taken"
    return "nothing that is taken asks for it"


def _reference(source: Record) -> str | None:
    """Return the target of a uv source, as a requirement names it."""
    if "git" in source:
        at = next((source.text(key) for key in ("rev", "tag", "branch") if key in source), "")
        folder = source.text("subdirectory") if "subdirectory" in source else ""
        return git_reference(source.text("git"), at, folder)
    return next((source.text(key) for key in ("url", "path") if key in source), None)
