"""The manifest of an archive, from its segments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict

from envbuilder.archive.elf import highest
from envbuilder.archive.entry import Entry
from envbuilder.archive.manifest import (
    MANIFEST_PATH,
    Manifest,
    ManifestCondaPackage,
    ManifestFile,
    ManifestInterpreter,
    ManifestKept,
    ManifestPackage,
)
from envbuilder.archive.segment import Segment
from envbuilder.assemble.environment_file import sum_excluded
from envbuilder.assemble.packing import pack_options, tools
from envbuilder.base.provider import Provider
from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe


def make_manifest(recipe: Recipe, lock: Lock, base: Provider, segments: Sequence[Segment]) -> Manifest:
    """Return the manifest of an archive of *segments*."""
    files = sorted((f for s in segments for f in s.files), key=lambda file: os.fsencode(file.path))
    elf = [file.elf for file in files if file.elf is not None]
    described = base.interpreter
    return Manifest(
        recipe=recipe.name,
        recipe_digest=lock.recipe_digest,
        lock_digest=lock_digest(lock),
        release=lock.release,
        python=base.version,
        torch=lock.torch,
        cuda=lock.cuda,
        interpreter=ManifestInterpreter(
            version=described.version,
            origin=described.origin,
            digest=described.digest,
            locked_digest=lock.interpreter.digest,
        ),
        demands=lock.demands,
        packages=tuple(ManifestPackage(**asdict(artifact)) for artifact in lock.artifacts),
        conda=tuple(ManifestCondaPackage(**asdict(one)) for one in lock.conda.packages) if lock.conda else (),
        provides=dict(lock.conda.provides) if lock.conda else {},
        glibc=highest(facts.glibc for facts in elf if facts.glibc),
        glibcxx=highest(facts.glibcxx for facts in elf if facts.glibcxx),
        pack=pack_options(recipe),
        tools=tools(lock),
        unpacked_size=sum(file.size for file in files),
        files=tuple(
            ManifestFile(path=f.path, mode=f.mode, size=f.size, sha256=f.sha256, link=f.link) for f in files
        ),
        excluded=sum_excluded(one for segment in segments for one in segment.excluded),
        kept=tuple(
            ManifestKept(path=kept.path, imported_by=kept.imported_by)
            for kept in sorted(
                (kept for segment in segments for kept in segment.kept),
                key=lambda kept: os.fsencode(kept.path),
            )
        ),
        system_libraries=recipe.system_libraries,
    )


def manifest_entry(text: str) -> Entry:
    """Return the entry that holds the manifest *text*."""
    return Entry(MANIFEST_PATH, data=text.encode("utf-8", "surrogateescape"))
