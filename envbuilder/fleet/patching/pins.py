"""Find what prevents a newer version of a package: the recipe, a constraint, the release, or another package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envbuilder.inventory.components import Inventory
from envbuilder.recipe.conda import spec_name
from envbuilder.recipe.model import Recipe

_SPEC_NAME: Final = re.compile(r"^[A-Za-z0-9_.-]+")
_AFTER_OPERATOR: Final = re.compile(r"([<>=!~,|])\s+")
_KEY: Final = re.compile(r"""(\w+)\s*=\s*(?:'([^']*)'|"([^"]*)"|([^,\]]+))""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A requirement, and its source."""

    text: str
    """As written."""
    words: str
    """A description of its source."""
    owner: str = ""
    """The project that has it; empty: the recipe, or the release."""
    conda: bool = False
    """Whether it is a match spec of conda, and *owner* a conda package."""


def said_by_all(recipe: Recipe, inventory: Inventory | None) -> Iterator[Said]:
    """Yield the requirements of the recipe, its release, and the packages of its archive."""
    for text in recipe.dependencies:
        yield Said(text=text, words=f"{recipe.path.name} asks {text}")
    for text in recipe.constraints:
        yield Said(text=text, words=f"constraints of {recipe.path.name} say {text}")
    for text in recipe.release.demands:
        yield Said(text=text, words=f"Triton {recipe.release.name} demands {text}")
    for spec in recipe.conda:
        yield Said(text=spec, words=f"conda of {recipe.path.name} asks {spec}", conda=True)
    for component in inventory.components if inventory is not None else ():
        said = f"{component.name} {component.version} needs"
        for text in component.requires:
            yield Said(text=text, words=f"{said} {text}", owner=canonicalize_name(component.name))
        for spec in component.depends:
            yield Said(text=spec, words=f"{said} {spec}", owner=component.name, conda=True)


def find_pins(name: str, held: str, recipe: Recipe, inventory: Inventory | None) -> list[str]:
    """Describe the upper limits on *name*, which is locked at *held*, one per line."""
    found = []
    if name == "torch":
        found.append(f"{recipe.path.name} says torch {recipe.torch}")
    if name == "python":
        found.append(f"{recipe.path.name} says python {recipe.python}")
    for said in said_by_all(recipe, inventory):
        if said.conda:
            if spec_name(said.text) == name and spec_limits_above(said.text):
                found.append(said.words)
            continue
        try:
            requirement = Requirement(said.text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == name and limits_above(requirement, held):
            found.append(said.words)
    return found


def spec_limits_above(spec: str) -> bool:
    """Whether a match spec has an upper limit: a version other than ``*``, ``>``, ``>=`` and ``!=``, or a build."""
    head, _, keys = spec.strip().rpartition("::")[2].partition("[")
    said = {key: next(filter(None, values), "") for key, *values in _KEY.findall(keys)}
    rest = _AFTER_OPERATOR.sub(r"\1", _SPEC_NAME.sub("", head)).split()
    version = rest[0] if rest else said.get("version", "*").replace(" ", "")
    build = rest[1] if len(rest) > 1 else said.get("build", "*")
    # One alternative without an upper limit is enough.
    is_open = any(
        all(part == "*" or part.startswith((">", "!=")) for part in alternative.split(","))
        for alternative in version.split("|")
    )
    return not is_open or build != "*"


def limits_above(requirement: Requirement, held: str) -> bool:
    """Whether a requirement has an upper limit above the locked version."""
    if requirement.url is not None:
        return True
    try:
        version = Version(held)
    except InvalidVersion:
        return bool(requirement.specifier)
    above = (f"{version.epoch}!{version.major + 1000}", f"{version.epoch}!{version.major}.99999")
    next_ones = [*above, f"{version.epoch}!{version.major}.{version.minor}.99999"]
    return not all(requirement.specifier.contains(one, prereleases=True) for one in next_ones)
