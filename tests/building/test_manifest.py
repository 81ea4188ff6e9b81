"""The manifest of an archive: what its segments hold, in the archive's own terms."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from envbuilder.archive.entry import Entry
from envbuilder.archive.manifest import ManifestExclusion, ManifestKept, parse_manifest
from envbuilder.archive.segment import Excluded, KeptFile, Segment
from envbuilder.assemble.writer import SegmentWriter
from envbuilder.base.cpython import CPythonBase
from envbuilder.base.interpreter import Interpreter
from envbuilder.building.manifest import make_manifest, manifest_entry
from envbuilder.lockfile.digest import lock_digest
from tests.helpers.environments import some_elf
from tests.helpers.libraries import shared_library
from tests.helpers.small import Small


def segment_of(folder: Path, *entries: Entry) -> Segment:
    folder.mkdir()
    with (
        ThreadPoolExecutor(1) as executor,
        closing(SegmentWriter(folder, level=1, executor=executor)) as made,
    ):
        made.write(entries)
        return made.finish(key=folder.name, label=folder.name, artifact=None)


@pytest.fixture
def base(python311: Interpreter) -> CPythonBase:
    return CPythonBase(found=python311)


def test_files_of_all_segments_in_the_order_of_their_bytes(
    built_small: Small, base: CPythonBase, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"lib/\xff")
    one = segment_of(tmp_path / "one", Entry("lib/z", data=b"zz"), Entry("bin/x", data=b"x", mode=0o755))
    other = segment_of(tmp_path / "other", Entry(odd, data=b"odd"), Entry("bin/link", link="x"))
    manifest = make_manifest(built_small.recipe, built_small.lock, base, [one, other])
    assert [(file.path, file.mode, file.size, file.link) for file in manifest.files] == [
        ("bin/link", 0o777, 0, "x"),
        ("bin/x", 0o755, 1, None),
        ("lib/z", 0o644, 2, None),
        (odd, 0o644, 3, None),
    ]
    assert manifest.unpacked_size == 6
    assert (manifest.glibc, manifest.glibcxx) == (None, None)
    entry = manifest_entry(manifest.text())
    assert (entry.path, parse_manifest(entry.data or b"", where="it")) == (
        "share/envbuilder/manifest.json",
        manifest,
    )


def test_the_highest_versions_of_symbols_that_any_file_needs(
    built_small: Small, base: CPythonBase, tmp_path: Path
) -> None:
    newer = shared_library(asks=("libc.so.6", "GLIBC_2.101"))
    needs = shared_library(asks=("libstdc++.so.6", "GLIBCXX_3.4.99"))
    one = segment_of(tmp_path / "one", Entry("lib/a.so", data=newer), Entry("lib/b.so", data=some_elf()))
    other = segment_of(tmp_path / "other", Entry("lib/c.so", data=needs))
    manifest = make_manifest(built_small.recipe, built_small.lock, base, [one, other])
    assert (manifest.glibc, manifest.glibcxx) == ("2.101", "3.4.99")
    alone = segment_of(tmp_path / "alone", Entry("lib/b.so", data=some_elf()))
    manifest = make_manifest(built_small.recipe, built_small.lock, base, [alone])
    assert manifest.glibc not in (None, "2.101")


def test_what_was_left_out_is_summed_and_what_was_kept_is_told(
    built_small: Small, base: CPythonBase, tmp_path: Path
) -> None:
    plain = segment_of(tmp_path / "plain", Entry("x", data=b""))
    one = dataclasses.replace(
        plain,
        excluded=(Excluded(pattern="**/tests/**", files=2, size=10),),
        kept=(KeptFile(path="b/tests/x.py", imported_by="b"),),
    )
    other = dataclasses.replace(
        plain,
        files=(),
        excluded=(Excluded(pattern="**/tests/**", files=1, size=5), Excluded(pattern="*.h", files=1, size=1)),
        kept=(KeptFile(path="a/tests/x.py", imported_by="b"),),
    )
    manifest = make_manifest(built_small.recipe, built_small.lock, base, [one, other])
    assert manifest.excluded == (
        ManifestExclusion(pattern="**/tests/**", files=3, size=15),
        ManifestExclusion(pattern="*.h", files=1, size=1),
    )
    assert manifest.kept == (
        ManifestKept(path="a/tests/x.py", imported_by="b"),
        ManifestKept(path="b/tests/x.py", imported_by="b"),
    )


def test_lock_recipe_and_interpreter_are_named(built_small: Small, base: CPythonBase) -> None:
    locked = dataclasses.replace(built_small.lock.interpreter, digest="9" * 64)
    lock = dataclasses.replace(built_small.lock, interpreter=locked)
    recipe = dataclasses.replace(built_small.recipe, system_libraries=("libx.so.1",))
    assert recipe.digest() != lock.recipe_digest
    manifest = make_manifest(recipe, lock, base, [])
    assert (manifest.recipe, manifest.recipe_digest, manifest.lock_digest) == (
        "small",
        lock.recipe_digest,
        lock_digest(lock),
    )
    assert manifest.system_libraries == ("libx.so.1",)
    assert (manifest.python, manifest.torch, manifest.cuda) == (base.version, lock.torch, "cpu")
    # The one that is used, and the one that was locked.
    assert manifest.interpreter.digest == base.interpreter.digest
    assert manifest.interpreter.locked_digest == "9" * 64
    assert [(one.name, one.sha256) for one in manifest.packages] == [
        (one.name, one.sha256) for one in lock.artifacts
    ]
    assert (manifest.conda, manifest.provides) == ((), {})
