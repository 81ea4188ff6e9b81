"""Who holds what is to be patched: locks, archives, aliases, deployed models; also inside other packages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from envbuilder.archive.manifest import ManifestPackage
from envbuilder.errors import EnvbuilderError
from envbuilder.fetch.beside import with_files_beside
from envbuilder.fleet.patching.subject import Subject, component_of
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.plan import find_built
from envbuilder.fleet.repository.survey import Model
from envbuilder.inventory.components import Component, Inventory, take_inventory
from envbuilder.lockfile.check import check_lock
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """One component that the advisory is about."""

    component: Component
    package: str | None
    """The locked package to take a newer version of: itself, or the one that it is inside of; None: the interpreter, or
    what no package of the lock brought."""

    def said(self) -> str:
        """Return it in words."""
        inside = (
            f" in {self.package}"
            if self.package not in (None, canonicalize_name(self.component.name))
            else ""
        )
        return f"{self.component.name} {self.component.version}".rstrip() + inside


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """A recipe whose lock, or whose archive, holds it."""

    job: Job
    held: tuple[Held, ...]
    archive: Path | None
    """Of the lock as it is; None: it is not built here."""
    inventory: Inventory | None
    models: tuple[Model, ...] = ()
    """Models of the repositories that are deployed with it, or get it."""
    images: tuple[str, ...] = ()
    """Images of the environment, if any were made."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the locked packages to take newer versions of."""
        return tuple(sorted({one.package for one in self.held if one.package is not None}))


def find_holdings(
    subject: Subject, recipes: Iterable[Recipe], models: Sequence[Model], session: Session, archives: Path
) -> tuple[list[Holding], dict[str, EnvbuilderError]]:
    """Return the recipes that hold *subject*, and those of which it cannot be told, with why."""
    found, problems = [], {}
    for recipe in recipes:
        try:
            there = with_files_beside(recipe, session.at(recipe.path.parent))
            job = Job(recipe=recipe, lock=check_lock(recipe), settings=there.settings)
            archive = find_built(job, there, archives)
            inventory = None if archive is None else take_inventory(archive)
        except EnvbuilderError as error:
            problems[recipe.name] = error
            continue
        held = held_by(subject, job, inventory)
        if held:
            own = tuple(one for one in models if one.recipe is not None and one.recipe.path == recipe.path)
            found.append(Holding(job=job, held=held, archive=archive, inventory=inventory, models=own))
    return found, problems


def held_by(subject: Subject, job: Job, inventory: Inventory | None) -> tuple[Held, ...]:
    """Return what of a lock, and of the archive that was built of it, *subject* is about."""
    names: set[str] = {canonicalize_name(one.name) for one in job.lock.artifacts}
    if inventory is None:
        components = [component_of(one) for one in job.lock.artifacts]
        return tuple(Held(component=one, package=one.project) for one in components if subject.hits(one))
    return tuple(
        Held(component=one, package=_package(one, names, inventory.manifest.all_packages))
        for one in inventory.components
        if subject.hits(one)
    )


def _package(component: Component, names: set[str], packages: Sequence[ManifestPackage]) -> str | None:
    """Return the locked package that brought *component*."""
    if component.kind == "interpreter":
        return None
    own = component.project or canonicalize_name(component.name)
    if component.kind == "wheel":
        return own
    if component.kind == "conda":
        return component.name
    if component.inside is not None:
        return component.inside if component.inside in names else None
    # A package inside another one lies below a folder of its name.
    top = (component.place or "").partition("/site-packages/")[2].split("/")[0]
    return canonicalize_name(top) if canonicalize_name(top) in names else (own if own in names else None)
