"""Read a ``pyproject.toml``: PEP 621's dependencies, dependency groups (PEP 735), uv's and Poetry's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.documents import Document, inner, read_toml, texts
from envbuilder.recipe.importing.poetry import Poetry
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import narrowed, read_requirement
from envbuilder.recipe.importing.uv_table import Uv
from envbuilder.recipe.importing.wanted import Imported, Wanted
from envbuilder.util.documents import Record

_PROJECT: Final = frozenset({"name", "dependencies", "optional-dependencies", "requires-python", "dynamic"})
_WITH_DEPENDENCIES: Final = ("pdm", "hatch", "pixi", "rye", "flit", "setuptools")
"""Tools whose tables may name packages, and get a remark on each key."""


def read_pyproject(path: Path, groups: Sequence[str] = ()) -> Imported:
    """Read the ``pyproject.toml`` *path*; *groups* are extras and dependency groups that count, too.

    Raises:
        RecipeError: it cannot be read, has none of the tables that name dependencies, or no such group.
    """
    document = read_toml(path)
    tool = inner(document.root, "tool")
    poetry = inner(tool, "poetry") if tool is not None else None
    if poetry is None and not {"project", "dependency-groups"} & document.root.value.keys():
        raise RecipeError(
            f"{path} names no dependencies: it has neither [project] nor [tool.poetry]",
            hint="envbuilder import reads PEP 621's [project], [dependency-groups], [tool.uv] and [tool.poetry]",
        )
    found = Wanted()
    uv = inner(tool, "uv") if tool is not None else None
    reader = _Reader(
        document,
        found,
        groups,
        Uv(document, uv, found) if uv is not None else None,
        Poetry(document, poetry, found) if poetry is not None else None,
    )
    return reader.read()


class _Reader:
    def __init__(
        self, document: Document, found: Wanted, groups: Sequence[str], uv: Uv | None, poetry: Poetry | None
    ) -> None:
        self.document, self.found, self.uv, self.poetry = document, found, uv, poetry
        root = document.root
        self.project = inner(root, "project")
        self.extras = inner(self.project, "optional-dependencies") if self.project is not None else None
        self.groups = inner(root, "dependency-groups")
        self.wanted = {canonicalize_name(name): name for name in groups}
        self.done: set[tuple[str, str]] = set()
        """Extras and groups that were added, with their kinds."""
        self.names: set[str] = set()
        """Projects that [project] requires, extras included."""

    def read(self) -> Imported:
        self._check_groups()
        own = self._poetrys_own()
        for text in texts(self.project, "dependencies") if self.project is not None else ():
            self._require(text)
        if self.poetry is not None and own:
            self.poetry.require_main(self._optional())
        self._extras()
        self._groups()
        python = self._python()
        if self.poetry is not None:
            if not own:
                self.poetry.leave_details(self.names)
            self.poetry.tell_rest()
        if self.uv is not None:
            self._uvs_own_group()
            self.uv.tell_rest()
        self._tell_rest(own=own)
        return Imported(
            path=self.document.path,
            kind="a Poetry project"
            if self.project is None and self.poetry is not None
            else "a pyproject.toml",
            name=self._name(),
            wanted=self.found,
            python=python,
        )

    def _poetrys_own(self) -> bool:
        """Whether the dependencies are in Poetry's table, not in [project]."""
        if self.project is None:
            return True
        return "dependencies" not in self.project or "dependencies" in texts(self.project, "dynamic")

    def _name(self) -> str:
        for table in (self.project, self.poetry.table if self.poetry is not None else None):
            if table is not None and "name" in table:
                return table.text("name")
        return self.document.path.resolve().parent.name

    def _check_groups(self) -> None:
        known = {name for record in (self.extras, self.groups) if record is not None for name in record.value}
        if self.poetry is not None:
            known |= {*self.poetry.groups, *self.poetry.extras}
        if self.uv is not None and "dev-dependencies" in self.uv.table:
            known.add("dev")
        known = {canonicalize_name(name) for name in known}
        for name, given in self.wanted.items():
            if name not in known:
                raise RecipeError(f"{self.document.path} has no group or extra {given!r}")

    def _takes(self, name: str) -> bool:
        return canonicalize_name(name) in self.wanted

    def _python(self) -> SourceLine | None:
        own = None
        if self.project is not None and "requires-python" in self.project:
            text = self.project.text("requires-python")
            own = self.document.key(text, "requires-python")
        poetrys = self.poetry.python() if self.poetry is not None else None
        if own is not None and poetrys is not None:
            self.found.remarks.append(own.left_out("Poetry's own python narrows it"))
        return poetrys or own

    # -- extras and groups -------------------------------------------------------------------------

    def _optional(self) -> set[str]:
        """Return Poetry's optional dependencies in the selected extras."""
        assert self.poetry is not None
        return {
            canonicalize_name(one)
            for name, names in self.poetry.extras.items()
            if self._takes(name)
            for one in names
        }

    def _extras(self) -> None:
        names = [*self.extras.value] if self.extras is not None else []
        for name in names:
            if self._takes(name):
                self._extra(name, None, ())
        for name in names:
            if ("extra", name) not in self.done:
                line = self.document.key(f"{name} (extra)", name)
                self.found.remarks.append(line.left_out(f"an extra: --group {name} takes it"))
        for name in self.poetry.extras if self.poetry is not None else ():
            line = self.document.key(f"{name} (extra)", name)
            remark = line.changed("what it names is in the recipe") if self._takes(name) else None
            self.found.remarks.append(remark or line.left_out(f"an extra: --group {name} takes it"))

    def _extra(self, name: str, asked: Requirement | None, inside: tuple[str, ...]) -> None:
        """Add the requirements of the extra *name*, under the marker of *asked*, which names it."""
        assert self.extras is not None
        self.done.add(("extra", name))
        for text in texts(self.extras, name):
            self._require(text, extra=name, asked=asked, inside=(*inside, name))

    def _groups(self) -> None:
        names = [*self.groups.value] if self.groups is not None else []
        for name in names:
            if self._takes(name):
                self._group(name, ())
        poetrys = [*self.poetry.groups] if self.poetry is not None else []
        for name in poetrys:
            if self._takes(name) and self.poetry is not None:
                self.done |= {("group", one) for one in self.poetry.require_group(name)}
        for name in [*names, *poetrys]:
            if ("group", name) not in self.done:
                line = self.document.key(f"{name} (dependency group)", name)
                self.found.remarks.append(line.left_out(f"a dependency group: --group {name} takes it"))

    def _group(self, name: str, inside: tuple[str, ...]) -> None:
        groups = self.groups
        assert groups is not None
        if name in inside or not isinstance(groups.value.get(name), list):
            groups.fail(name, "is not a dependency group, or includes itself")
        self.done.add(("group", name))
        for item in groups.value[name]:
            if isinstance(item, str):
                self._require(item, group=name)
            elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
                included = canonicalize_name(item["include-group"])
                other = next((one for one in groups.value if canonicalize_name(one) == included), included)
                self._group(other, (*inside, name))
            else:
                groups.fail(name, "expected requirements or {include-group = …}")

    def _uvs_own_group(self) -> None:
        assert self.uv is not None
        if "dev-dependencies" not in self.uv.table:
            return
        if self._takes("dev"):
            for text in texts(self.uv.table, "dev-dependencies"):
                self._require(text, group="dev")
        else:
            line = self.document.key("tool.uv.dev-dependencies", "dev-dependencies")
            self.found.remarks.append(line.left_out("for development, not for serving: --group dev takes it"))

    # -- one requirement ---------------------------------------------------------------------------

    def _require(
        self,
        text: str,
        *,
        extra: str = "",
        group: str = "",
        asked: Requirement | None = None,
        inside: tuple[str, ...] = (),
    ) -> None:
        """Add the requirement *text* of *extra* or *group*, under the marker of *asked*."""
        line = self.document.quoted(text)
        requirement = read_requirement(text, self.document.path.parent)
        if isinstance(requirement, str):
            self.found.remarks.append(line.left_out(requirement))
            return
        if asked is not None and asked.marker is not None:
            requirement = narrowed(requirement, str(asked.marker))
        if self._is_itself(requirement):
            self._itself(line, requirement, inside)
            return
        self.names.add(canonicalize_name(requirement.name))
        if self.poetry is not None and self.uv is None and self.poetry.detail(line, requirement):
            return
        if self.uv is not None:
            self.uv.place(line, requirement, extra=extra, group=group)
        else:
            self.found.requirements.append((line, requirement))

    def _is_itself(self, requirement: Requirement) -> bool:
        if self.project is None or "name" not in self.project:
            return False
        return canonicalize_name(requirement.name) == canonicalize_name(self.project.text("name"))

    def _itself(self, line: SourceLine, requirement: Requirement, inside: tuple[str, ...]) -> None:
        """Add the project's extras that one of its own requirements names: ``all = ["project[fast]"]``."""
        known = {
            canonicalize_name(name): name for name in (self.extras.value if self.extras is not None else ())
        }
        names = [known.get(canonicalize_name(name), "") for name in sorted(requirement.extras)]
        if not names or not all(names):
            self.found.remarks.append(
                line.left_out("the project itself" + (", which has no such extra" if names else ""))
            )
            return
        self.found.remarks.append(line.changed(f"what its extra {', '.join(names)} has is in the recipe"))
        for name in names:
            if name not in inside:
                self._extra(name, requirement, inside)

    # -- the rest ----------------------------------------------------------------------------------

    def _tell_rest(self, *, own: bool) -> None:
        remarks = self.found.remarks
        for name in texts(self.project, "dynamic") if self.project is not None else ():
            line = self.document.locate(f"dynamic = {name}", "dynamic", name)
            if name in ("dependencies", "optional-dependencies"):
                named = own and self.poetry is not None
                remarks.append(
                    line.changed("what [tool.poetry] has is taken")
                    if named
                    else line.left_out("computed when the project is built: name them")
                )
        rest = [key for key in self.project.value if key not in _PROJECT] if self.project is not None else []
        if rest:
            line = self.document.key(", ".join(rest), rest[0])
            remarks.append(line.left_out("about the project, not of its environment"))
        if "build-system" in self.document.root:
            line = self.document.key("build-system", "build-system")
            remarks.append(line.left_out("what builds the project itself"))
        tool = inner(self.document.root, "tool")
        for name in tool.value if tool is not None else ():
            if name not in ("uv", "poetry") and tool is not None:
                self._tell_tool(tool, name)

    def _tell_tool(self, tool: Record, name: str) -> None:
        value = tool.value[name]
        keys = [*value] if isinstance(value, dict) and name in _WITH_DEPENDENCIES else []
        for key in keys:
            line = self.document.key(f"tool.{name}.{key}", key)
            self.found.remarks.append(line.left_out(f"a table of {name}'s: name packages in [project]"))
        if not keys:
            line = self.document.locate(f"tool.{name}", f"[tool.{name}")
            self.found.remarks.append(line.left_out("settings of another tool"))
