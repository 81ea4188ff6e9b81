"""A ``pyproject.toml``: PEP 621's dependencies, dependency groups (PEP 735), and uv's table. Poetry's is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, read_toml, tables
from envbuilder.recipe.importing.poetry import read_poetry
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import ELSEWHERE, read_requirement, variant_of
from envbuilder.recipe.importing.wanted import Imported, Wanted, holds, read_marker, with_marker
from envbuilder.util.documents import Record

_NEWEST_PYTHON: Final = "3.12"
"""Sources differ by platform far more often than by Python."""
_UV_WITHOUT_EFFECT: Final = {
    "dev-dependencies": "for development, not for serving",
    "default-groups": "groups are named: --group NAME",
    "environments": "Triton's servers are Linux on x86-64",
    "required-environments": "Triton's servers are Linux on x86-64",
    "package": "the project itself is not part of its dependencies",
    "managed": "how uv treats the project",
    "workspace": "members of a workspace are named as dependencies",
    "conflicts": "one group at a time is imported",
    "override-dependencies": "a recipe cannot override what packages require: use constraints",
    "build-constraint-dependencies": "limits of builds, not of the environment",
    "no-build": "a recipe takes wheels only, unless build-from-source names a project",
    "index-strategy": ELSEWHERE,
    "index-url": f"{ELSEWHERE}: index-url",
    "extra-index-url": f"{ELSEWHERE}: extra-index-urls",
    "find-links": f"{ELSEWHERE}: find-links",
}


def read_pyproject(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read the ``pyproject.toml`` *path*; *groups* are extras and dependency groups that count, too.

    Raises:
        RecipeError: it cannot be read, has none of the tables that name dependencies, or no such group.
    """
    document = read_toml(path)
    tool = document.root.record("tool") if "tool" in document.root else None
    if "project" in document.root:
        reader = _Reader(document, groups)
        return reader.read(tool.record("uv") if tool is not None and "uv" in tool else None)
    if tool is not None and "poetry" in tool:
        return read_poetry(document, groups)
    raise RecipeError(
        f"{path} names no dependencies: it has neither [project] nor [tool.poetry]",
        hint="envbuilder import reads PEP 621's [project], [dependency-groups], [tool.uv] and [tool.poetry]",
    )


class _Reader:
    def __init__(self, document: Document, groups: Sequence[str]) -> None:
        self.document = document
        self.project = document.root.record("project")
        self.groups = [*groups]
        self.sources: dict[str, Any] = {}
        self.indexes: dict[str, str] = {}
        self.found = Wanted()

    def read(self, uv: Record | None) -> Imported:
        if uv is not None:
            self._uv(uv)
        for text in self._texts(self.project, "dependencies"):
            self._require(text)
        self._extras()
        self._dependency_groups()
        if self.groups:
            raise RecipeError(f"{self.document.path} has no group or extra {self.groups[0]!r}")
        if uv is not None:
            self._rest_of_uv(uv)
        for name in self.project.texts("dynamic") if "dynamic" in self.project else ():
            if name in ("dependencies", "optional-dependencies"):
                said = self.document.said(f"dynamic = {name}", "dynamic")
                self.found.remarks.append(said.left_out("computed when the project is built: name them"))
        return Imported(
            path=self.document.path,
            kind="a pyproject.toml",
            name=self.project.text("name")
            if "name" in self.project
            else self.document.path.resolve().parent.name,
            wanted=self.found,
            python=self._python(),
        )

    def _python(self) -> Said | None:
        if "requires-python" not in self.project:
            return None
        text = self.project.text("requires-python")
        return self.document.said(text, "requires-python")

    def _texts(self, record: Record, key: str) -> tuple[str, ...]:
        return record.texts(key) if key in record else ()

    def _extras(self) -> None:
        if "optional-dependencies" not in self.project:
            return
        extras = self.project.record("optional-dependencies")
        for name in extras.value:
            if not self._takes(name):
                said = self.document.said(f"{name} (extra)", name)
                self.found.remarks.append(said.left_out(f"an extra: --group {name} takes it"))
                continue
            for text in extras.texts(name):
                self._require(text)

    def _dependency_groups(self) -> None:
        if "dependency-groups" not in self.document.root:
            return
        groups = self.document.root.record("dependency-groups")
        for name in groups.value:
            if self._takes(name):
                self._group(groups, name, ())
            else:
                said = self.document.said(f"{name} (dependency group)", name)
                self.found.remarks.append(said.left_out(f"a dependency group: --group {name} takes it"))

    def _group(self, groups: Record, name: str, inside: tuple[str, ...]) -> None:
        if name in inside or name not in groups or not isinstance(groups.value[name], list):
            groups.fail(name, "is not a dependency group, or includes itself")
        for item in groups.value[name]:
            if isinstance(item, str):
                self._require(item)
            elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
                self._group(groups, item["include-group"], (*inside, name))
            else:
                groups.fail(name, "expected requirements or {include-group = …}")

    def _takes(self, name: str) -> bool:
        wanted = [one for one in self.groups if canonicalize_name(one) == canonicalize_name(name)]
        for one in wanted:
            self.groups.remove(one)
        return bool(wanted)

    def _require(self, text: str) -> None:
        said = self.document.said(text)
        requirement = read_requirement(text, self.document.path.parent)
        if isinstance(requirement, str):
            self.found.remarks.append(said.left_out(requirement))
            return
        sources = tables(self.sources.pop(canonicalize_name(requirement.name), None))
        if not sources:
            self.found.requirements.append((said, requirement))
        for source in sources:
            where = f"{self.document.path}, tool.uv.sources.{requirement.name}"
            if not holds(read_marker(str(source.get("marker", "")), where), _NEWEST_PYTHON):
                place = next(
                    (str(source[key]) for key in ("index", "git", "url", "path") if key in source), ""
                )
                why = f"its source {place}: not for Linux, x86-64"
                self.found.remarks.append(said.left_out(why.replace(" :", ":")))
                continue
            self._from_source(said, requirement.name, str(requirement), source)

    def _from_source(self, said: Said, name: str, text: str, source: Any) -> None:
        """Require a package from where ``tool.uv.sources`` says that it comes from."""
        marker = str(source.get("marker", ""))
        if "index" in source:
            variant = variant_of(self.indexes.get(str(source["index"]), ""))
            if variant is not None:
                self.found.own_index[canonicalize_name(name)] = variant
            else:
                self.found.remarks.append(
                    said.changed(f"from whichever index envbuilder.toml names, not {source['index']}")
                )
            self.found.require(said, with_marker(text, [marker]) if ";" not in text else text)
            return
        reference = _reference(source)
        if reference is None:
            self.found.remarks.append(
                said.left_out("a member of a workspace: name its folder (NAME @ ./folder)")
            )
            return
        extras = re.match(r"[\w.-]+(\[[^\]]*\])?", text)
        requirement = read_requirement(
            with_marker(f"{extras[0] if extras else name} @ {reference}", [marker]), self.document.path.parent
        )
        if isinstance(requirement, str):
            self.found.remarks.append(said.left_out(requirement))
            return
        self.found.remarks.append(said.changed(f"with its source: {reference}"))
        self.found.requirements.append((said, requirement))

    # -- uv's table --------------------------------------------------------------------------------

    def _uv(self, uv: Record) -> None:
        for index in tables(uv.value.get("index")):
            name, url = str(index.get("name", "")), str(index.get("url", ""))
            self.indexes[name] = url
            said = self.document.said(f"index {name}".strip(), url)
            variant = variant_of(url)
            if variant is not None and not index.get("explicit"):
                self.found.indexes.append((said, variant))
            elif variant is None:
                self.found.remarks.append(said.left_out(ELSEWHERE))
        sources = uv.value.get("sources")
        if isinstance(sources, dict):
            self.sources = {canonicalize_name(str(name)): source for name, source in sources.items()}

    def _rest_of_uv(self, uv: Record) -> None:
        for text in self._texts(uv, "constraint-dependencies"):
            self.found.constrain(self.document.said(text), text)
        if uv.value.get("prerelease") in ("allow", "explicit", "if-necessary-or-explicit"):
            said = self.document.said(f"prerelease = {uv.value['prerelease']}", "prerelease")
            if uv.value["prerelease"] == "allow":
                self.found.prereleases = said
                self.found.remarks.append(said.changed("prereleases: true"))
            else:
                self.found.remarks.append(said.carried())
        for name in self._texts(uv, "no-binary-package"):
            self.found.build.append(name)
            said = self.document.said(name, "no-binary-package")
            self.found.remarks.append(said.changed(f"build-from-source: [{name}]"))
        for key, why in _UV_WITHOUT_EFFECT.items():
            if key in uv.value:
                self.found.remarks.append(self.document.said(f"tool.uv.{key}", key).left_out(why))


def _reference(source: Any) -> str | None:
    """Return where a source of uv's points, as a requirement names it."""
    if "git" in source:
        at = next((f"@{source[key]}" for key in ("rev", "tag", "branch") if key in source), "")
        folder = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"git+{str(source['git']).removeprefix('git+')}{at}{folder}"
    if "url" in source:
        return str(source["url"])
    if "path" in source:
        return str(source["path"])
    return None
