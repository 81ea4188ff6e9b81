"""The common form of imported files: requirements, constraints and indexes, whichever tool wrote them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from packaging.markers import Marker, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.environment_yml import Environment
from envbuilder.recipe.importing.remark import Remark, SourceLine

PYTHONS: Final = tuple(f"3.{minor}" for minor in range(8, 16))
"""Minor versions that markers may distinguish; the recipe's is chosen after the file is read."""


@dataclass(kw_only=True, slots=True)
class Wanted:
    """Requirements and constraints, each with its line."""

    requirements: list[tuple[SourceLine, Requirement]] = field(default_factory=list)
    """Local wheels and folders are absolute ``file:`` addresses."""
    constraints: list[tuple[SourceLine, Requirement]] = field(default_factory=list)
    """Versions of packages that others require, from a lock or a constraints file."""
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    """Remarks on how a line was interpreted, which apply if the line is used."""
    indexes: list[tuple[SourceLine, str]] = field(default_factory=list)
    """Lines that name PyTorch's index of one variant, with the variant: ``cu126``."""
    explicit: list[tuple[SourceLine, str]] = field(default_factory=list)
    """The same for indexes that are used only by packages that name them."""
    nightly: list[SourceLine] = field(default_factory=list)
    """Which of those are of nightly builds."""
    own_index: list[tuple[Requirement, str]] = field(default_factory=list)
    """Requirements that come from PyTorch's index of one variant."""
    compares: bool = False
    """Whether the newest version of all indexes is used, as by pip, instead of the first index with the project."""
    elsewhere: set[str] = field(default_factory=lambda: {"--index-url"})
    """Options of pip that name another index than PyTorch's: PyPI is used unless one replaces it."""
    prereleases: SourceLine | None = None
    build: list[str] = field(default_factory=list)
    """Projects that may be built from source."""
    excluded: list[str] = field(default_factory=list)
    """Projects that are not installed, whichever package requires them."""

    def on(self, python: str) -> Wanted:
        """Return the parts that apply to a server with CPython *python*."""

        def held(
            lines: Sequence[tuple[SourceLine, Requirement]],
        ) -> list[tuple[SourceLine, Requirement]]:
            return [line for line in lines if holds(line[1].marker, python)]

        own = [line for line in self.own_index if holds(line[0].marker, python)]
        return replace(
            self, requirements=held(self.requirements), constraints=held(self.constraints), own_index=own
        )

    def own_variant(self, name: str) -> str | None:
        """Return the variant of PyTorch's index that only the project *name* uses."""
        return next((variant for one, variant in self.own_index if canonicalize_name(one.name) == name), None)

    def require(self, said: SourceLine, text: str) -> None:
        """Add the requirement *text*, or a remark if it is invalid."""
        requirement = parse(text)
        if isinstance(requirement, str):
            self.remarks.append(said.left_out(requirement))
        else:
            self.requirements.append((said, requirement))

    def constrain(self, said: SourceLine, text: str) -> None:
        """Add the constraint *text*, or a remark if it is invalid."""
        requirement = parse(text)
        if isinstance(requirement, str):
            self.remarks.append(said.left_out(requirement))
        elif requirement.url is not None:
            self.remarks.append(said.left_out("a constraint sets a version, not the place of a package"))
        else:
            self.constraints.append((said, requirement))

    def take_in(self, other: Wanted) -> None:
        """Add the requirements of another file that this one names."""
        for name in ("requirements", "constraints", "remarks", "notes", "indexes", "explicit", "nightly"):
            getattr(self, name).extend(getattr(other, name))
        self.own_index += other.own_index
        self.build += other.build
        self.excluded += other.excluded
        self.compares = self.compares and (other.compares or not other.indexes)
        self.elsewhere |= other.elsewhere
        self.prereleases = self.prereleases or other.prereleases

    def names(self) -> set[str]:
        """Return the projects that are required."""
        return {canonicalize_name(requirement.name) for _, requirement in self.requirements}


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """One file that another tool wrote."""

    path: Path
    kind: str
    """For messages: ``a requirements file``."""
    name: str
    """The name of its environment or project."""
    wanted: Wanted
    python: SourceLine | None = None
    """A version (``3.11``) or a specifier (``>=3.10,<3.13``)."""
    cuda: SourceLine | None = None
    """A CUDA version that the file names (``12.1``), or ``cpu``."""
    conda: Environment | None = None

    @property
    def whole(self) -> SourceLine:
        """Return the file itself as a line, for remarks on the whole file."""
        return SourceLine(text="", place=str(self.path))


def parse(text: str) -> Requirement | str:
    """Parse *text* as a requirement, or return why it is invalid."""
    try:
        requirement = Requirement(text)
        urlsplit(requirement.url or "")
        holds(requirement.marker, "3.12")
    except (
        InvalidRequirement,
        ValueError,
    ) as error:  # an invalid address, or a marker that cannot be evaluated
        return f"not a requirement (PEP 508): {str(error).splitlines()[0]}"
    return requirement


def read_marker(text: str, place: str) -> Marker | None:
    """Parse *text* as a marker; None if it is empty.

    Raises:
        RecipeError: it is invalid, or cannot be evaluated; *place* is named in the message.
    """
    if not text:
        return None
    try:
        marker = Marker(text)
        holds(marker, "3.12")
    except ValueError as error:
        why = str(error).splitlines()[0]
        raise RecipeError(f"{place}: {text!r} is not a marker (PEP 508): {why}") from error
    return marker


def holds(marker: Marker | None, python: str) -> bool:
    """Return whether *marker* is true on a Triton server: CPython *python* on Linux, x86-64.

    Raises:
        UndefinedComparison: it orders values that have no order (``sys_platform ~= "linux"``).
    """
    if marker is None:
        return True
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.99",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.99",  # a lock uses the newest patch release
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }
    try:
        return marker.evaluate(environment)
    except UndefinedEnvironmentName:
        return True


def pythons_of(marker: Marker | None) -> frozenset[str]:
    """Return the versions of Python for which *marker* is true on a server."""
    return frozenset(python for python in PYTHONS if holds(marker, python))


def for_pythons(pythons: Collection[str]) -> str:
    """Return a marker that is true only for *pythons*; empty for all of them."""
    if len(pythons) == len(PYTHONS):
        return ""
    ordered = [python for python in PYTHONS if python in pythons]
    if ordered and ordered == [*PYTHONS[-len(ordered) :]]:
        return f'python_version >= "{ordered[0]}"'
    if ordered and ordered == [*PYTHONS[: len(ordered)]]:
        return f'python_version < "{PYTHONS[len(ordered)]}"'
    return " or ".join(f'python_version == "{python}"' for python in ordered) or 'sys_platform == "none"'


def with_marker(text: str, markers: Sequence[str]) -> str:
    """Return the requirement *text* with all of *markers*."""
    given = [marker for marker in markers if marker]
    if not given:
        return text
    joined = " and ".join(f"({marker})" if " or " in marker else marker for marker in given)
    return f"{text} ; {joined}"
