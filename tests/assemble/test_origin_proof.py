"""What this machine built itself is proven, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.archive.segment import Segment, load_segment
from envbuilder.assemble.origin_proof import (
    find_origin,
    made_here,
    prove_origin,
    record_origin,
    record_segment,
)
from envbuilder.building.record import BuildReport
from envbuilder.store.local import Store
from envbuilder.store.proofs import Proofs
from tests.helpers.small import Small, copy_small

SHA256 = "a" * 64


@pytest.fixture
def proofs(tmp_path: Path) -> Proofs:
    return Proofs(store=Store.open(tmp_path / "store"))


@pytest.fixture
def segments(built_small: Small) -> list[Segment]:
    """Those of a build, as they lie in its store."""
    folders = sorted((built_small.folder / "store" / "segments").glob("*/*"))
    found = [load_segment(folder, folder.name) for folder in folders]
    assert len(found) >= 3
    return found


@pytest.fixture
def report(built_small: Small, tmp_path: Path) -> BuildReport:
    return copy_small(built_small, tmp_path / "small").build()


def proven(proofs: Proofs, small: Small, *, sha256: str = SHA256) -> list[bool]:
    """Whether it is proven with lock and recipe, with each, and with neither."""
    return [
        find_origin(proofs, sha256, lock=lock, recipe=recipe) is not None
        for lock in (small.lock, None)
        for recipe in (small.recipe, None)
    ]


def test_segments_that_were_built_here(proofs: Proofs, segments: list[Segment]) -> None:
    for one in segments[:-1]:
        record_segment(proofs, one)
    assert made_here(proofs, segments[:-1])
    assert not made_here(proofs, segments)
    assert made_here(proofs, [*segments[:-1], replace(segments[-1], key="")]), (
        "without a key it is always built"
    )
    assert made_here(proofs, [])
    changed = replace(segments[0], digest="0" * 64)
    assert not made_here(proofs, [changed]), "the same key, and other facts"


def test_an_archive_of_such_segments_is_proven(
    proofs: Proofs, segments: list[Segment], built_small: Small, report: BuildReport
) -> None:
    prove_origin(proofs, SHA256, report.manifest, segments, built_small.recipe, built_small.lock)
    assert proven(proofs, built_small) == [False] * 4, "somebody else built one"
    for one in segments:
        record_segment(proofs, one)
    prove_origin(proofs, SHA256, report.manifest, segments, built_small.recipe, built_small.lock)
    assert proven(proofs, built_small) == [True] * 4
    assert proven(proofs, built_small, sha256="b" * 64) == [False] * 4
    proof = find_origin(proofs, SHA256, lock=None, recipe=None)
    assert proof is not None
    files, version = len(report.manifest.files) + 1, report.manifest.interpreter.version
    assert proof.value == (
        f"{files} files: written by the build of the archive, on this machine, from 2 wheels and CPython {version}"
    )


def test_with_another_interpreter_it_does_not_match_the_lock(
    proofs: Proofs, built_small: Small, report: BuildReport
) -> None:
    other = replace(report.manifest.interpreter, digest="0" * 64)
    manifest = replace(report.manifest, interpreter=other)
    prove_origin(proofs, SHA256, manifest, [], built_small.recipe, built_small.lock)
    assert proven(proofs, built_small) == [False, False, True, True]


def test_what_was_compared_proves_no_more_than_that(proofs: Proofs, built_small: Small) -> None:
    record_origin(proofs, SHA256, "found", lock=built_small.lock, recipe=None)
    assert proven(proofs, built_small) == [False, True, False, True]
    other = replace(built_small.lock, release="24.10")
    assert find_origin(proofs, SHA256, lock=other, recipe=None) is None
    record_origin(proofs, "b" * 64, "found", lock=None, recipe=None)
    assert proven(proofs, built_small, sha256="b" * 64) == [False, False, False, True]


@pytest.mark.parametrize("change", ["name", "pack", "system_libraries", "compiler"])
def test_another_recipe(proofs: Proofs, built_small: Small, change: str) -> None:
    recipe = built_small.recipe
    record_origin(proofs, SHA256, "found", lock=None, recipe=recipe)
    others = {
        "name": replace(recipe, name="other"),
        "pack": built_small.with_pack(level=9).recipe,
        "system_libraries": replace(recipe, system_libraries=("libGL.so.1",)),
        "compiler": replace(recipe, compiler="bundled"),
    }
    assert find_origin(proofs, SHA256, lock=None, recipe=recipe) is not None
    assert find_origin(proofs, SHA256, lock=None, recipe=others[change]) is None
