"""Common form of other tools' locks: exact versions, some of them direct requirements of a project."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.recipe.importing.indexes import variant_of
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import read_requirement
from envbuilder.recipe.importing.wanted import (
    PYTHONS,
    Imported,
    Wanted,
    pythons_of,
    read_marker,
    with_marker,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """One package of a lock."""

    name: str
    version: str
    """Exact; empty if only *reference* identifies it."""
    line: SourceLine
    index: str = ""
    """The index it was locked from; empty if the lock does not record it."""
    reference: str = ""
    """A git reference, a wheel's address, or a path; empty for a package from an index."""
    marker: str = ""
    itself: bool = False
    """Whether it is the project that the lock was made for."""
    not_taken: str = ""
    """Why it is not installed: its group is not selected, or it is for other machines."""
    source_only: bool = False
    """Whether the lock has no wheel of it for a server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """A lock of another tool. Its versions are kept."""

    path: Path
    kind: str
    name: str
    packages: tuple[LockedPackage, ...]
    roots: Sequence[tuple[SourceLine, Requirement]] | None
    """The project's direct requirements; None if unknown: then every package is one."""
    python: SourceLine | None = None

    def imported(self) -> Imported:
        """Return direct requirements as dependencies, the rest as constraints."""
        found = Wanted()
        asked: dict[str, list[Requirement]] | None = None
        if self.roots is not None:
            asked = {}
            for _, root in self.roots:
                asked.setdefault(canonicalize_name(root.name), []).append(root)
        for package in self.packages:
            name = canonicalize_name(package.name)
            if package.itself:
                found.remarks.append(
                    package.line.left_out("the project itself: build it with NAME @ ./folder")
                )
            elif package.not_taken:
                found.remarks.append(package.line.left_out(package.not_taken))
            elif asked is None or name in asked or package.reference:
                self._require(package, [] if asked is None else asked.get(name, []), found)
            else:
                self._constrain(package, found)
        here = {canonicalize_name(one.name) for one in self.packages}
        found.requirements += [
            (line, root) for line, root in self.roots or () if canonicalize_name(root.name) not in here
        ]
        return Imported(path=self.path, kind=self.kind, name=self.name, wanted=found, python=self.python)

    def _require(self, package: LockedPackage, roots: Sequence[Requirement], found: Wanted) -> None:
        names = sorted({extra for root in roots for extra in root.extras})
        extras = f"[{','.join(names)}]" if names else ""
        if package.reference:
            text = f"{package.name}{extras} @ {package.reference}"
        else:
            text = f"{package.name}{extras}=={package.version}"
        marker = package.marker or _any_of(roots)
        if pythons_of(read_marker(marker, package.line.place)) == {*PYTHONS}:
            marker = ""
        requirement = read_requirement(with_marker(text, [marker]), self.path.parent)
        if isinstance(requirement, str):
            found.remarks.append(package.line.left_out(requirement))
            return
        found.requirements.append((package.line, requirement))
        _note(package, requirement, found)

    def _constrain(self, package: LockedPackage, found: Wanted) -> None:
        before = len(found.constraints)
        found.constrain(package.line, with_marker(f"{package.name}=={package.version}", [package.marker]))
        for _, requirement in found.constraints[before:]:
            _note(package, requirement, found)


def _note(package: LockedPackage, requirement: Requirement, found: Wanted) -> None:
    if (variant := variant_of(package.index)) is not None:
        found.own_index.append((requirement, variant))
    if package.source_only:
        found.build.append(package.name)
        found.notes.append(package.line.changed(f"build-from-source: [{package.name}]"))


def _any_of(roots: Sequence[Requirement]) -> str:
    """Return the combined marker of a package that a project requires in several lines."""
    if any(root.marker is None for root in roots):
        return ""
    return " or ".join(f"({root.marker})" for root in roots)


def is_source_only(files: Iterable[str]) -> bool:
    """Return whether *files*, those of a package in a lock, contain no wheel for Linux on x86-64.

    False if there are none.
    """
    names = [file.rpartition("/")[2].lower() for file in files]
    wheels = [name for name in names if name.endswith(".whl")]
    fits = [name for name in wheels if name.endswith("-any.whl") or ("linux" in name and "x86_64" in name)]
    return bool(names) and not fits and len(wheels) < len(names)
