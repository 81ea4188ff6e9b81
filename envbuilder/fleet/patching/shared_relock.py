"""A relock solved once: its new wheels go into the lock of every recipe that asks the same of these packages.

The solver is asked for the first recipe only. Another one takes its answer where nothing can make a difference: the
same sources, interpreter and release, the same wheel before, the same requirements on it by whomever; and where the
new wheel needs what the old one needed, in versions that the lock has. All others are solved on their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from envbuilder.config.settings import TORCH_FAMILY
from envbuilder.fetch.artifacts import fetch
from envbuilder.fleet.patching.holdings import Holding
from envbuilder.fleet.patching.pins import limits_above, said_by_all
from envbuilder.inventory.components import Component
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.store.session import Session
from envbuilder.util.zips import read_member

_LEFT_TO_THE_SOLVER: Final = TORCH_FAMILY | {"numpy", "python"}
"""Their builds come from an index of their own, or other wheels are built for one of their versions."""
_METADATA: Final = 8 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the solver answered for one recipe."""

    wheels: tuple[Artifact, ...]
    tools: tuple[tuple[str, str], ...]
    """Name and version of the solver."""
    requires: Mapping[str, tuple[str, ...]]
    """What each of the wheels says that it needs."""


def question_of(holding: Holding) -> tuple[object, ...] | None:
    """Return what the solver would be asked of the packages to patch: who has the same has the same answer.

    None: the answer is this recipe's alone.
    """
    lock, recipe, names = holding.job.lock, holding.job.recipe, holding.packages
    before = {one.name: one for one in lock.artifacts}
    if lock.conda is not None or not names or not before.keys() >= set(names):
        return None
    if not _LEFT_TO_THE_SOLVER.isdisjoint(names) or not dict(lock.built).keys().isdisjoint(names):
        return None
    if not {one.project for one in _wheels(holding)} >= before.keys():
        return None  # it is not known what each of them needs
    asked = []
    for said in said_by_all(recipe, holding.inventory):
        try:
            requirement = Requirement(said.text)
        except InvalidRequirement:
            return None
        name = canonicalize_name(requirement.name)
        if name not in names:
            continue
        extra = "extra" in str(requirement.marker or "")
        if requirement.url is not None or (extra and limits_above(requirement, before[name].version)):
            return None  # whether it counts depends on who asks for the extra
        asked.append((said.owner, said.text))
    numpy = before["numpy"].version if "numpy" in before else None
    return (
        repr(holding.job.settings),
        (lock.release, lock.python, lock.cuda, lock.torch, lock.interpreter, lock.demands, numpy),
        (recipe.provider, recipe.prereleases, recipe.exclude_newer),
        tuple(before[name] for name in names),
        tuple(sorted(asked)),
    )


def answer_of(holding: Holding, after: Lock, session: Session) -> Answer | None:
    """Return what the solver answered for *holding*; None: it moved something else, too.

    Raises:
        FetchError, IntegrityError, OSError, ValueError: a new wheel cannot be downloaded or read.
    """
    new = {one.name: one for one in after.artifacts}
    wheels = tuple(new[name] for name in holding.packages if name in new)
    if _with(holding.job.lock, wheels, after.tools) != after:
        return None
    requires = {one.name: _requires_of(one, after, session) for one in wheels}
    return Answer(wheels=wheels, tools=after.tools, requires=requires)


def lock_with(holding: Holding, answer: Answer) -> Lock | None:
    """Return the lock of *holding* with the wheels of *answer*; None: the solver must be asked for it alone."""
    lock = _with(holding.job.lock, answer.wheels, answer.tools)
    pins = {one.name: one.version for one in lock.artifacts}
    old = {one.project: one.requires for one in _wheels(holding)}
    try:
        for said in said_by_all(holding.job.recipe, holding.inventory):
            if said.owner not in answer.requires and not _met(said.text, pins, only=answer.requires):
                return None
        for name, texts in answer.requires.items():
            if set(map(_name_and_marker, texts)) != set(map(_name_and_marker, old[name])):
                return None
            if not all(_met(text, pins) for text in texts):
                return None
    except InvalidRequirement:
        return None
    return lock


def _wheels(holding: Holding) -> Iterator[Component]:
    for one in holding.inventory.components if holding.inventory is not None else ():
        if one.kind == "wheel":
            yield one


def _with(lock: Lock, wheels: Iterable[Artifact], tools: tuple[tuple[str, str], ...]) -> Lock:
    made = {one.name: one for one in wheels}
    artifacts = tuple(made.get(one.name, one) for one in lock.artifacts)
    return replace(lock, artifacts=artifacts, tools=tools)


def _requires_of(wheel: Artifact, lock: Lock, session: Session) -> tuple[str, ...]:
    # The build needs the wheel, too: it is fetched once.
    ((_, path),) = fetch([wheel], lock.cuda, session)
    metadata = read_member(path, _is_metadata, most=_METADATA)
    if metadata is None:
        raise ValueError(f"{wheel.filename} has no METADATA")
    return tuple(parse_email(metadata)[0].get("requires_dist", ()))


def _is_metadata(name: str) -> bool:
    return name.endswith(".dist-info/METADATA") and name.count("/") == 1


def _name_and_marker(text: str) -> tuple[str, frozenset[str], str]:
    requirement = Requirement(text)
    return canonicalize_name(requirement.name), frozenset(requirement.extras), str(requirement.marker or "")


def _met(text: str, pins: Mapping[str, str], only: Collection[str] | None = None) -> bool:
    """Whether what is locked satisfies a requirement; what is not locked is not needed."""
    requirement = Requirement(text)
    name = canonicalize_name(requirement.name)
    if name not in pins or (only is not None and name not in only):
        return True
    return requirement.url is None and requirement.specifier.contains(pins[name], prereleases=True)
