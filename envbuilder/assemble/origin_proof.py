"""Proof of the origin of an archive's files: this machine built them itself.

A segment that this machine built from verified artifacts is recorded with all its facts; the origin of an archive that
consists only of such segments is proven. With a segment from a remote store it is not, because another machine
built it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from envbuilder.archive.manifest import Manifest
from envbuilder.archive.segment import Segment
from envbuilder.assemble.packing import pack_options
from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe
from envbuilder.store.proofs import Proof, Proofs
from envbuilder.util.text import counted


def record_segment(proofs: Proofs, segment: Segment) -> None:
    """Record that *segment* was built here."""
    proofs.record(segment.label, "segment", segment.key, segment.digest)


def made_here(proofs: Proofs, segments: Iterable[Segment]) -> bool:
    """Return whether this machine built all *segments*; those without a key are always built."""
    return all(
        proofs.find("segment", segment.key, segment.digest) is not None for segment in segments if segment.key
    )


def prove_origin(
    proofs: Proofs,
    sha256: str,
    manifest: Manifest,
    segments: Sequence[Segment],
    recipe: Recipe,
    lock: Lock,
) -> None:
    """Record the origin of the archive with this *sha256*, just written from *segments*, if all were built here.

    An archive built with another interpreter than the locked one does not match its *lock*.
    """
    if not made_here(proofs, segments):
        return
    used, conda = manifest.interpreter, len(manifest.conda)
    base = counted(conda, "conda package") if conda else f"CPython {used.version}"
    found = (
        f"{counted(len(manifest.files) + 1, 'file')}: written by the build of the archive, on this machine, from "
        f"{counted(len(lock.artifacts), 'wheel')} and {base}"
    )
    locked = lock.conda is not None or used.digest == lock.interpreter.digest
    record_origin(proofs, sha256, found, lock=lock if locked else None, recipe=recipe)


def record_origin(
    proofs: Proofs, sha256: str, found: str, *, lock: Lock | None, recipe: Recipe | None
) -> None:
    """Record that the archive with this *sha256* matches *lock* and the packing of *recipe* (None: not compared).

    *found* describes the origin of its files. This also proves the weaker claims: without lock, or without recipe.
    """
    for one in {_lock_part(lock), ""}:
        for other in {_recipe_part(recipe), ""}:
            proofs.record(found, "origin", sha256, one, other)


def find_origin(proofs: Proofs, sha256: str, *, lock: Lock | None, recipe: Recipe | None) -> Proof | None:
    """Return the proof of origin of the archive with this *sha256*, see :func:`record_origin`."""
    return proofs.find("origin", sha256, _lock_part(lock), _recipe_part(recipe))


def _lock_part(lock: Lock | None) -> str:
    return "" if lock is None else lock_digest(lock)


def _recipe_part(recipe: Recipe | None) -> str:
    """Return the properties of an archive that its recipe, not its lock, determines."""
    if recipe is None:
        return ""
    said = [
        recipe.name,
        recipe.digest(),
        pack_options(recipe),
        list(recipe.system_libraries),
        recipe.compiler,
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
