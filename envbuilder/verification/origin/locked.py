"""Compute the members of an archive from the lock's artifacts on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.entry import Entry
from envbuilder.archive.segment import Excluded
from envbuilder.base.conda import CondaBase
from envbuilder.base.cpython import CPythonBase
from envbuilder.base.interpreter import Interpreter, describe, find_interpreters, recall, remember
from envbuilder.base.provider import HISTORY, Provider, described_by_conda_pack
from envbuilder.errors import AssembleError, EnvbuilderError
from envbuilder.lockfile.model import CondaPackage, Lock
from envbuilder.progress import Reporter
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.util.text import counted
from envbuilder.verification.origin.artifacts import bring, candidates
from envbuilder.verification.origin.expected import (
    Contribution,
    Packing,
    base_contributions,
    contribution_of,
    wheel_contribution,
)
from envbuilder.verification.origin.memory import Memory

_POST_LINK: Final = re.compile(r"bin/\.([^/]+)-post-link\.sh")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """An artifact of an archive that is not on this machine."""

    label: str
    why: str
    project: str | None = None
    """The normalized name of the wheel's project; None: it is (part of) the base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """The files that a lock determines."""

    base: Contribution | None
    """None: the interpreter or a conda package is missing here."""
    own: Contribution
    """The activation."""
    wheels: Mapping[str, Contribution]
    """By sha256."""
    paths: Mapping[str, Path]
    """Paths of the wheels by sha256."""
    unknown: tuple[Unknown, ...]

    @property
    def excluded(self) -> Iterator[Excluded]:
        """Yield the files that the packing options exclude."""
        for one in (self.base, *self.wheels.values()):
            yield from one.excluded if one is not None else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Where to look for artifacts, and facts that only a recipe has."""

    store: Store
    folders: tuple[Path, ...]
    """Wheelhouses."""
    recipe: Recipe | None
    """The archive's own recipe, if available."""
    reporter: Reporter
    believe: bool = True
    """Whether to reuse remembered results."""


def account(lock: Lock, packing: Packing, around: Surroundings, memory: Memory) -> Locked:
    """Find the artifacts of *lock* on this machine, and compute what each contributes under *packing*."""
    minor = minor_of(lock)
    unknown: list[Unknown] = []
    wheels, paths = {}, {}
    for artifact in lock.artifacts:
        why = "it is neither in the store nor in a wheelhouse"
        for path in candidates(artifact, around.store, around.folders):
            try:
                wheels[artifact.sha256] = wheel_contribution(artifact, path, minor=minor, packing=packing)
                paths[artifact.sha256] = path
                break
            except (EnvbuilderError, OSError) as error:
                why = str(error)
        else:
            name = canonicalize_name(artifact.name)
            unknown.append(Unknown(label=artifact.filename, why=why, project=name))
    base, own = None, contribution_of("envbuilder", _bare_activation(minor, around.store))
    try:
        with _open_base(lock, around) as opened:
            base, own = base_contributions(opened, base_label(lock), packing, memory)
    except (EnvbuilderError, OSError) as error:
        unknown.append(Unknown(label=base_label(lock), why=str(error)))
    if base is not None and around.recipe is None:
        scripts = (_POST_LINK.fullmatch(file.path) for file in base.files)
        why = "it ran if the recipe allows it, but the recipe is not known"
        unknown += [
            Unknown(label=f"the post-link script of {match[1]}", why=why) for match in scripts if match
        ]
    return Locked(base=base, own=own, wheels=wheels, paths=paths, unknown=tuple(unknown))


def minor_of(lock: Lock) -> str:
    """Return the minor version of the interpreter of *lock*: ``3.11``."""
    return ".".join(lock.interpreter.version.split(".")[:2])


def base_label(lock: Lock) -> str:
    """Describe the base of *lock* for a message."""
    interpreter = lock.interpreter
    if lock.conda is not None:
        return counted(len(lock.conda.packages), "conda package")
    return f"CPython {interpreter.version} ({interpreter.origin}, {interpreter.digest[:12]})"


@contextmanager
def _open_base(lock: Lock, around: Surroundings) -> Iterator[Provider]:
    """Yield the base of *lock* from what is on this machine: nothing is downloaded or installed.

    Raises:
        AssembleError: it is not here.
        IntegrityError, OSError: an artifact here has another sha256, or cannot be read.
    """
    if lock.conda is None:
        yield CPythonBase(found=_find_interpreter(lock, around.store))
        return
    found: dict[CondaPackage, Path] = {}
    for package in lock.conda.packages:
        path = bring(package, around.store, around.folders)
        if path is None:
            raise AssembleError(f"{package.filename} is neither in the store nor in a wheelhouse")
        found[package] = path
    with around.store.scratch("conda") as scratch:
        yield CondaBase(
            interpreter=lock.interpreter,
            packages=lock.conda.packages,
            link_scripts=around.recipe.link_scripts if around.recipe is not None else (),
            fetch=lambda: found,
            store=around.store,
            scratch=scratch,
            reporter=around.reporter,
        )


def _find_interpreter(lock: Lock, store: Store) -> Interpreter:
    locked, minor = lock.interpreter, minor_of(lock)
    known = recall(minor, locked, store)
    if known is not None:
        return known
    # Identifying an interpreter takes a second: those known to be different are not examined again.
    digests = (path.name for path in (store.root / "interpreters").glob("*/*"))
    others = {recall(minor, replace(locked, digest=digest), store) for digest in digests}
    for one in find_interpreters(minor)[0]:
        if one.version == locked.version and one not in others:
            remember(one, store)
            if describe(one).digest == locked.digest:
                return one
    raise AssembleError("it is not on this machine")


def _bare_activation(minor: str, store: Store) -> Sequence[Entry]:
    """Return the activation of an environment with an unknown base: conda-pack's own files, the same for all."""
    with store.scratch("activation") as scratch:
        (scratch / f"lib/python{minor}/site-packages").mkdir(parents=True)
        history = scratch / HISTORY
        history.parent.mkdir()
        history.write_text("")
        activation = described_by_conda_pack(scratch).activation
        # The scratch folder is read before it is removed.
        return [
            replace(one, data=one.source.read_bytes(), source=None) if one.source is not None else one
            for one in activation
        ]
