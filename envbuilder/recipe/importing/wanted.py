"""What a file asks for, whichever tool wrote it: the common form of everything that can be imported."""

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
from envbuilder.recipe.importing.remark import Remark, Said

PYTHONS: Final = tuple(f"3.{minor}" for minor in range(8, 16))
"""Minor versions that a file may tell apart; which of them the recipe gets is known only when the file is read."""


@dataclass(kw_only=True, slots=True)
class Wanted:
    """Requirements, and what limits them, each with the line that says it."""

    requirements: list[tuple[Said, Requirement]] = field(default_factory=list)
    """A reference to a local wheel or folder is an absolute ``file:`` address."""
    constraints: list[tuple[Said, Requirement]] = field(default_factory=list)
    """Versions for whatever else gets installed: what a lock holds, or a constraints file."""
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    """How a line was read that is changed by that: it counts where the line is taken."""
    indexes: list[tuple[Said, str]] = field(default_factory=list)
    """Where PyTorch's index of one variant is named: the line, and ``cu126``."""
    explicit: list[tuple[Said, str]] = field(default_factory=list)
    """The same for an index that only what names it is taken from."""
    nightly: list[Said] = field(default_factory=list)
    """Which of those are of nightly builds."""
    own_index: list[tuple[Requirement, str]] = field(default_factory=list)
    """Requirements that are taken from PyTorch's index of one variant."""
    compares: bool = False
    """The newest version of all indexes is taken, as pip does; else the first index that has the project counts."""
    elsewhere: set[str] = field(default_factory=lambda: {"--index-url"})
    """The options of pip's that name another index than PyTorch's: PyPI's is asked unless one takes its place."""
    prereleases: Said | None = None
    build: list[str] = field(default_factory=list)
    """Projects that may be built from source."""

    def on(self, python: str) -> Wanted:
        """Return what holds on a server with CPython *python*."""

        def held(
            lines: Sequence[tuple[Said, Requirement]],
        ) -> list[tuple[Said, Requirement]]:
            return [line for line in lines if holds(line[1].marker, python)]

        own = [line for line in self.own_index if holds(line[0].marker, python)]
        return replace(
            self, requirements=held(self.requirements), constraints=held(self.constraints), own_index=own
        )

    def own_variant(self, name: str) -> str | None:
        """Return the variant of PyTorch's index that the project *name* is taken from by itself."""
        return next((variant for one, variant in self.own_index if canonicalize_name(one.name) == name), None)

    def require(self, said: Said, text: str) -> None:
        """Add the requirement *text*; what is none is left out."""
        requirement = parse(text)
        if isinstance(requirement, str):
            self.remarks.append(said.left_out(requirement))
        else:
            self.requirements.append((said, requirement))

    def constrain(self, said: Said, text: str) -> None:
        """Add the constraint *text*; what is none is left out."""
        requirement = parse(text)
        if isinstance(requirement, str):
            self.remarks.append(said.left_out(requirement))
        elif requirement.url is not None:
            self.remarks.append(said.left_out("a constraint sets a version, not the place of a package"))
        else:
            self.constraints.append((said, requirement))

    def take_in(self, other: Wanted) -> None:
        """Add what another file asks for, which this one names."""
        for name in ("requirements", "constraints", "remarks", "notes", "indexes", "explicit", "nightly"):
            getattr(self, name).extend(getattr(other, name))
        self.own_index += other.own_index
        self.build += other.build
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
    """For people: ``a requirements file``."""
    name: str
    """What its environment or project is called."""
    wanted: Wanted
    python: Said | None = None
    """A version (``3.11``) or a specifier (``>=3.10,<3.13``)."""
    cuda: Said | None = None
    """A CUDA version that the file names (``12.1``), or ``cpu``."""
    conda: Environment | None = None

    @property
    def whole(self) -> Said:
        """Return the file itself, for what none of its lines says."""
        return Said(text="", place=str(self.path))


def parse(text: str) -> Requirement | str:
    """Return the requirement that *text* is, or why it is none."""
    try:
        requirement = Requirement(text)
        urlsplit(requirement.url or "")
        holds(requirement.marker, "3.12")
    except (
        InvalidRequirement,
        ValueError,
    ) as error:  # of an address that is none, or a marker without an answer
        return f"not a requirement (PEP 508): {str(error).splitlines()[0]}"
    return requirement


def read_marker(text: str, place: str) -> Marker | None:
    """Return the marker that *text* is; None where it is empty.

    Raises:
        RecipeError: it is none, or none that has an answer; *place* says where it stands.
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
    """Say whether *marker* is true on a Triton server: CPython *python* on Linux, x86-64.

    Raises:
        UndefinedComparison: it compares what has no order (``sys_platform ~= "linux"``).
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
        "python_full_version": f"{python}.99",  # a lock takes the newest patch release
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }
    try:
        return marker.evaluate(environment)
    except UndefinedEnvironmentName:
        return True


def pythons_of(marker: Marker | None) -> frozenset[str]:
    """Return the versions of Python with which *marker* holds on a server."""
    return frozenset(python for python in PYTHONS if holds(marker, python))


def for_pythons(pythons: Collection[str]) -> str:
    """Return the marker of just *pythons*; empty for all of them."""
    if len(pythons) == len(PYTHONS):
        return ""
    ordered = [python for python in PYTHONS if python in pythons]
    if ordered and ordered == [*PYTHONS[-len(ordered) :]]:
        return f'python_version >= "{ordered[0]}"'
    if ordered and ordered == [*PYTHONS[: len(ordered)]]:
        return f'python_version < "{PYTHONS[len(ordered)]}"'
    return " or ".join(f'python_version == "{python}"' for python in ordered) or 'sys_platform == "none"'


def with_marker(text: str, markers: Sequence[str]) -> str:
    """Return the requirement *text* that holds where all of *markers* do."""
    given = [marker for marker in markers if marker]
    if not given:
        return text
    joined = " and ".join(f"({marker})" if " or " in marker else marker for marker in given)
    return f"{text} ; {joined}"
