"""Find affected components in locks, archives and environments, also inside their packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from envbuilder.fleet.patching.subject import Subject, components_of
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.survey import Model
from envbuilder.inventory.components import Component, Inventory
from envbuilder.inventory.owners import Owners, find_owners
from envbuilder.lockfile.model import Lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """An affected component."""

    component: Component
    package: str | None
    """The locked package to upgrade: itself, or the one that contains it; None: the interpreter, or a component of
    no locked package."""

    def label(self) -> str:
        """Return its description."""
        owner = self.package or self.component.inside
        inside = f" in {owner}" if owner not in (None, canonicalize_name(self.component.name)) else ""
        return f"{self.component.name} {self.component.version}".rstrip() + inside

    @property
    def is_of_interpreter(self) -> bool:
        """Whether only a newer interpreter fixes it."""
        return self.component.kind == "interpreter" or self.component.inside == "cpython"


def labels_of(held: Sequence[Held]) -> tuple[str, ...]:
    """Return the descriptions, each once."""
    return tuple(dict.fromkeys(one.label() for one in held))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointing:
    """An alias, or a tag of a registry, that points to an affected archive."""

    name: str
    sha256: str
    lock_digest: str
    held: tuple[Held, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outdated:
    """A model with an affected environment."""

    model: Model
    environment: str
    """Its file or folder."""
    held: tuple[Held, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """A recipe with an affected lock or archive, or an affected older archive of a model, alias or image."""

    job: Job
    held: tuple[Held, ...] = ()
    """Affected components of the lock and its archive. Empty: only older archives are affected."""
    archive: Path | None = None
    """The archive of the present lock; None: it is not built here."""
    inventory: Inventory | None = None
    models: tuple[Model, ...] = ()
    """Models of the repositories that are deployed with it, or will be."""
    outdated: tuple[Outdated, ...] = ()
    """The models among them whose environment is affected."""
    aliases: tuple[Pointing, ...] = ()
    images: tuple[Pointing, ...] = ()
    """Images in registries."""
    layouts: tuple[str, ...] = ()
    """Image layouts beside the archives."""
    notes: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the locked packages to upgrade."""
        return tuple(sorted({one.package for one in self.held if one.package is not None}))

    @property
    def found(self) -> tuple[str, ...]:
        """Descriptions of everything found."""
        others: list[Outdated | Pointing] = [*self.outdated, *self.aliases, *self.images]
        return labels_of([*self.held, *(one for other in others for one in other.held)])


def held_by(
    subject: Subject, lock: Lock, inventory: Inventory | None, place: Path | None = None
) -> tuple[Held, ...]:
    """Return the components of a lock, and of its archive at *place*, that *subject* affects.

    Raises:
        IntegrityError: the archive cannot be read.
    """
    if inventory is None:
        return tuple(
            Held(component=one, package=package) for one, package in components_of(lock) if subject.hits(one)
        )
    hits = [one for one in inventory.components if subject.hits(one)]
    names = {one.name for one in lock.all_artifacts}
    owners = Owners()
    unsaid = [
        one for one in hits if one.kind in ("bundled", "library") and one.inside not in (*names, "cpython")
    ]
    if place is not None and unsaid:
        # A second read, which most archives do not need: a folder's name is not its package's.
        owners = find_owners(place, {one.place for one in unsaid if one.place is not None})
    return tuple(Held(component=one, package=_package(one, names, owners)) for one in hits)


def held_in(subject: Subject, inventory: Inventory) -> tuple[Held, ...]:
    """Return the components of an environment that *subject* affects."""
    return tuple(
        Held(component=one, package=one.inside if one.inside != "cpython" else None)
        for one in inventory.components
        if subject.hits(one)
    )


def _package(component: Component, names: set[str], owners: Owners) -> str | None:
    """Return the locked package that contains *component*."""
    found: str | None
    if component.kind == "interpreter":
        found = "python"  # a conda package, where the base is of such
    elif component.kind == "wheel":
        found = component.project or canonicalize_name(component.name)
    elif component.kind == "conda":
        found = component.name
    else:
        found = owners.of(component) or component.inside
    return found if found in names else None


def changed_between(before: Lock, after: Lock) -> Iterator[str]:
    """Yield the names of packages whose bytes differ in *after*."""
    known = {one.name: one.sha256 for one in before.all_artifacts}
    for one in after.all_artifacts:
        if known.get(one.name) != one.sha256:
            yield one.name
