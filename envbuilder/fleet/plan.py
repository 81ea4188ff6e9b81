"""The graph of tasks, each of them once however many archives share it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuilder.assemble.packing import pack_rules
from envbuilder.building.record import build_key
from envbuilder.config.settings import Settings
from envbuilder.fleet.tasks import Done, Terms, assemble_base, assemble_wheel, pack, verify
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One recipe to build."""

    recipe: Recipe
    lock: Lock
    settings: Settings

    @property
    def key(self) -> str:
        """The key of the build with the locked interpreter."""
        return build_key(self.recipe, self.lock, self.lock.interpreter)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One task."""

    key: str
    """Equal for equal work."""
    weight: int
    """Estimated cost in bytes: the largest start first."""
    work: Callable[..., Done]
    args: tuple[Any, ...]
    settings: Settings
    """The recipe of its job, or of one that shares it."""
    after: tuple[str, ...] = ()
    """Keys of the tasks whose results are appended to *args*."""


def plan(jobs: Iterable[Job], terms: Terms, output: Path | None) -> dict[str, Node]:
    """Return the tasks of *jobs* by key, in topological order.

    *output* is the folder for archives; None: only the remote store.
    """
    assembling: dict[str, Node] = {}
    packing: dict[str, Node] = {}
    for job in jobs:
        lock, rules = job.lock, pack_rules(job.recipe)
        common = (lock.interpreter, lock.python, lock.cuda, rules)
        base = _key("base", *common, lock.conda, job.recipe.link_scripts)
        args: tuple[Any, ...] = (terms, job.recipe, lock, rules, job.settings)
        made = Node(key=base, weight=50_000_000, work=assemble_base, args=args, settings=job.settings)
        assembling.setdefault(base, made)
        needed = [base]
        for artifact in lock.artifacts:
            key = _key(f"assemble-{artifact.name}", artifact, *common)
            args = (terms, artifact, job.recipe, lock, rules, job.settings)
            made = Node(key=key, weight=artifact.size, work=assemble_wheel, args=args, settings=job.settings)
            assembling.setdefault(key, made)
            needed.append(key)
        key = _pack_key(job)
        args = (terms, job.recipe, lock, job.settings, output)
        packing[key] = Node(
            key=key, weight=0, work=pack, args=args, settings=job.settings, after=tuple(needed)
        )
        if terms.verify:
            last = last_key(job, terms)
            args = (terms, job.recipe, job.settings, output)
            packing[last] = Node(
                key=last, weight=0, work=verify, args=args, settings=job.settings, after=(key,)
            )
    longest_first = sorted(assembling.values(), key=lambda node: -node.weight)
    return {node.key: node for node in (*longest_first, *packing.values())}


def last_key(job: Job, terms: Terms) -> str:
    """Return the key of the task that ends a job."""
    return _pack_key(job).replace("pack-", "verify-", 1) if terms.verify else _pack_key(job)


def _pack_key(job: Job) -> str:
    return _key(f"pack-{job.recipe.name}", job.key)


def _key(what: str, *parts: object) -> str:
    return f"{what}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
