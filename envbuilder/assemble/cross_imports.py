"""Imports between artifacts that exclusion rules would break; known once all artifacts are listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from envbuilder.archive.kept import module_of
from envbuilder.assemble.assembler import Listing

Names = Mapping[str, str]
"""Dotted names of modules, each with one importer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The excluded modules of each artifact that other artifacts need."""

    wheels: Mapping[str, Names] = field(default_factory=dict)
    """By artifact name, without empty entries."""
    base: Names = field(default_factory=dict)


class WantedError(Exception):
    """Segments were assembled before all imports from them were known; assemble them again."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__("more modules of assembled artifacts are needed")
        self.wanted = wanted


def settle_wanted(
    listings: Mapping[str, Listing], minor: str, conda: bool, relist: Callable[[str, Names], Listing]
) -> Wanted:
    """Return which excluded modules the artifacts of *listings*, by name, need from each other and from the base.

    *relist* lists one again with the modules needed from it: these may need further modules. *conda* says whether the
    base also has packages, not only the standard library.
    """
    if not any(listing.kept.wants or listing.kept.stdlib for listing in listings.values()):
        return Wanted()
    owners: dict[str, set[str]] = {}
    tops: set[str] = set()
    for name, listing in listings.items():
        for path in listing.left_out:
            if (module := module_of(path, minor)) is not None:
                owners.setdefault(module.name, set()).add(name)
        tops.update(path.split("/")[3].partition(".")[0] for path in listing.paths if path.count("/") > 2)
    wheels: dict[str, dict[str, str]] = {}
    base: dict[str, str] = {}
    current = dict(listings)
    waiting = sorted(listings)
    while waiting:
        changed = set()
        for name in waiting:
            kept = current[name].kept
            asked = {**kept.stdlib, **kept.wants}
            for wanted, importer in sorted(asked.items()):
                others = sorted(owners.get(wanted, set()) - {name})
                for other in others:
                    if wanted not in wheels.setdefault(other, {}):
                        wheels[other][wanted] = importer
                        changed.add(other)
                if not others and wanted.partition(".")[0] not in tops and (conda or wanted in kept.stdlib):
                    base.setdefault(wanted, importer)
        waiting = sorted(changed)
        for name in waiting:
            current[name] = relist(name, wheels[name])
    return Wanted(wheels=wheels, base=base)
