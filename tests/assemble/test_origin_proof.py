"""What is proven of the origin of an archive that this machine built, and what is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.archive.segment import Segment
from envbuilder.assemble.origin_proof import (
    find_origin,
    made_here,
    prove_origin,
    record_origin,
    record_segment,
)
from envbuilder.store.local import Store
from envbuilder.store.proofs import Proofs
from tests.helpers.small import Small

SHA256 = "5" * 64


@pytest.fixture
def proofs(tmp_path: Path) -> Proofs:
    return Proofs(store=Store(root=tmp_path / "store"))


def segment(key: str, digest: str = "d" * 64) -> Segment:
    return Segment(
        key=key,
        label="alpha",
        artifact=None,
        pieces=(),
        size=0,
        files=(),
        folder=Path("/nonexistent"),
        digest=digest,
    )


def test_segments_are_from_here_when_every_one_was_recorded(proofs: Proofs) -> None:
    one, other = segment("1" * 64), segment("2" * 64)
    record_segment(proofs, one)
    assert made_here(proofs, [one])
    assert not made_here(proofs, [one, other])
    assert made_here(proofs, [one, segment("")]), "one without a key is never taken from a store"
    assert not made_here(proofs, [segment("1" * 64, "e" * 64)]), "the same key, other bytes"


def test_the_origin_of_an_archive_that_was_built_here(built_small: Small) -> None:
    report = built_small.build()
    recipe, lock = built_small.recipe, built_small.lock
    proofs = Proofs(store=built_small.store())
    found = find_origin(proofs, report.sha256, lock=lock, recipe=recipe)
    assert found is not None
    assert found.value == (
        f"{len(report.manifest.files) + 1} files: written by the build of the archive, on this machine, from "
        f"2 wheels and CPython {lock.interpreter.version}"
    )
    assert find_origin(proofs, SHA256, lock=lock, recipe=recipe) is None


def test_a_claim_proves_the_weaker_ones_and_no_other(proofs: Proofs, built_small: Small) -> None:
    recipe, lock = built_small.recipe, built_small.lock
    record_origin(proofs, SHA256, "from wheels", lock=lock, recipe=recipe)
    for weaker_lock in (lock, None):
        for weaker_recipe in (recipe, None):
            assert find_origin(proofs, SHA256, lock=weaker_lock, recipe=weaker_recipe) is not None
    other = dataclasses.replace(lock, artifacts=lock.artifacts[:1])
    assert find_origin(proofs, SHA256, lock=other, recipe=recipe) is None
    for changes in ({"name": "other"}, {"system_libraries": ("libx.so",)}, {"compiler": "bundled"}):
        changed = dataclasses.replace(recipe, **changes)
        assert find_origin(proofs, SHA256, lock=lock, recipe=changed) is None
    packed = built_small.with_pack(level=9).recipe
    assert find_origin(proofs, SHA256, lock=lock, recipe=packed) is None


def test_a_segment_from_elsewhere_proves_nothing(proofs: Proofs, built_small: Small) -> None:
    manifest = built_small.build().manifest
    recipe, lock = built_small.recipe, built_small.lock
    prove_origin(proofs, SHA256, manifest, [segment("1" * 64)], recipe, lock)
    assert find_origin(proofs, SHA256, lock=None, recipe=None) is None
    record_segment(proofs, segment("1" * 64))
    prove_origin(proofs, SHA256, manifest, [segment("1" * 64)], recipe, lock)
    assert find_origin(proofs, SHA256, lock=lock, recipe=recipe) is not None


def test_with_another_interpreter_it_does_not_match_its_lock(proofs: Proofs, built_small: Small) -> None:
    manifest = built_small.build().manifest
    recipe = built_small.recipe
    locked = dataclasses.replace(built_small.lock.interpreter, digest="9" * 64)
    lock = dataclasses.replace(built_small.lock, interpreter=locked)
    prove_origin(proofs, SHA256, manifest, [], recipe, lock)
    assert find_origin(proofs, SHA256, lock=lock, recipe=recipe) is None
    assert find_origin(proofs, SHA256, lock=None, recipe=recipe) is not None


@pytest.mark.parametrize("change", ["name", "pack", "system_libraries", "compiler"])
def test_another_recipe(proofs: Proofs, built_small: Small, change: str) -> None:
    recipe = built_small.recipe
    record_origin(proofs, SHA256, "found", lock=None, recipe=recipe)
    others = {
        "name": dataclasses.replace(recipe, name="other"),
        "pack": built_small.with_pack(level=9).recipe,
        "system_libraries": dataclasses.replace(recipe, system_libraries=("libGL.so.1",)),
        "compiler": dataclasses.replace(recipe, compiler="bundled"),
    }
    assert find_origin(proofs, SHA256, lock=None, recipe=recipe) is not None
    assert find_origin(proofs, SHA256, lock=None, recipe=others[change]) is None
