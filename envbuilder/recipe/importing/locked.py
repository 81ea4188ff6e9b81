"""What locks of other tools have in common: exact versions, of which a project asks for some itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import read_requirement, variant_of
from envbuilder.recipe.importing.wanted import Imported, Wanted, with_marker


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """One package of a lock."""

    name: str
    version: str
    """Exact; empty where only *reference* says which one it is."""
    said: Said
    index: str = ""
    """The index it was locked from; empty where the lock does not say."""
    reference: str = ""
    """A git reference, an address of a wheel, or a path; empty for one that an index has."""
    marker: str = ""
    itself: bool = False
    """The project that the lock was made for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """A lock of another tool. Versions that it holds stay as they are."""

    path: Path
    kind: str
    name: str
    packages: tuple[LockedPackage, ...]
    roots: Sequence[tuple[Said, Requirement]] | None
    """What the project asks for itself; None where nothing tells: then every package is asked for."""
    python: Said | None = None

    def imported(self) -> Imported:
        """Return what is asked for as dependencies, the rest as constraints."""
        found = Wanted()
        asked = None if self.roots is None else {canonicalize_name(one.name): one for _, one in self.roots}
        for package in self.packages:
            name = canonicalize_name(package.name)
            if package.itself:
                found.remarks.append(
                    package.said.left_out("the project itself: build it with NAME @ ./folder")
                )
            elif asked is None or name in asked or package.reference:
                self._require(package, None if asked is None else asked.get(name), found)
            else:
                found.constrain(
                    package.said, with_marker(f"{package.name}=={package.version}", [package.marker])
                )
        for said, requirement in self.roots or ():
            if canonicalize_name(requirement.name) not in {
                canonicalize_name(one.name) for one in self.packages
            }:
                found.requirements.append((said, requirement))
        return Imported(path=self.path, kind=self.kind, name=self.name, wanted=found, python=self.python)

    def _require(self, package: LockedPackage, asked: Requirement | None, found: Wanted) -> None:
        extras = f"[{','.join(sorted(asked.extras))}]" if asked is not None and asked.extras else ""
        if (variant := variant_of(package.index)) is not None:
            found.own_index[canonicalize_name(package.name)] = variant
        if package.reference:
            text = f"{package.name}{extras} @ {package.reference}"
        else:
            text = f"{package.name}{extras}=={package.version}"
        requirement = read_requirement(with_marker(text, [package.marker]), self.path.parent)
        if isinstance(requirement, str):
            found.remarks.append(package.said.left_out(requirement))
        else:
            found.requirements.append((package.said, requirement))
