"""Who forbids a newer version of a package: the recipe, a constraint, the release, or another package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.inventory.components import Inventory
from envbuilder.recipe.model import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A requirement, and who says so."""

    text: str
    """As written."""
    words: str
    """Who says it, in words."""
    owner: str = ""
    """The project that says it; empty: the recipe, or the release."""


def said_by_all(recipe: Recipe, inventory: Inventory | None) -> Iterator[Said]:
    """Yield what the recipe, its release, and the packages of its archive require."""
    for text in recipe.dependencies:
        yield Said(text=text, words=f"{recipe.path.name} asks {text}")
    for text in recipe.constraints:
        yield Said(text=text, words=f"constraints of {recipe.path.name} say {text}")
    for text in recipe.release.demands:
        yield Said(text=text, words=f"Triton {recipe.release.name} demands {text}")
    for component in inventory.components if inventory is not None else ():
        for text in component.requires:
            said = f"{component.name} {component.version} needs {text}"
            yield Said(text=text, words=said, owner=canonicalize_name(component.name))


def find_pins(name: str, held: str, recipe: Recipe, inventory: Inventory | None) -> list[str]:
    """Return who limits *name*, which is locked at *held*, from above, in words: each a line."""
    found = []
    if name == "torch":
        found.append(f"{recipe.path.name} says torch {recipe.torch}")
    for said in said_by_all(recipe, inventory):
        try:
            requirement = Requirement(said.text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == name and limits_above(requirement, held):
            found.append(said.words)
    return found


def limits_above(requirement: Requirement, held: str) -> bool:
    """Whether a requirement has an end above the version that is held."""
    if requirement.url is not None:
        return True
    try:
        version = Version(held)
    except InvalidVersion:
        return bool(requirement.specifier)
    above = (f"{version.epoch}!{version.major + 1000}", f"{version.epoch}!{version.major}.99999")
    next_ones = [*above, f"{version.epoch}!{version.major}.{version.minor}.99999"]
    return not all(requirement.specifier.contains(one, prereleases=True) for one in next_ones)
