"""The manifest of an archive, from what was put into it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from envbuilder.archive.elf import highest
from envbuilder.archive.entry import Entry
from envbuilder.archive.manifest import (
    ENVIRONMENT_PATH,
    MANIFEST_PATH,
    Manifest,
    ManifestCondaPackage,
    ManifestExclusion,
    ManifestFile,
    ManifestInterpreter,
    ManifestKept,
    ManifestPackage,
)
from envbuilder.archive.segment import Excluded, Segment
from envbuilder.base.provider import Provider
from envbuilder.building.record import lock_digest, pack_options, tools
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe


def _manifest(recipe: Recipe, lock: Lock, base: Provider, segments: Sequence[Segment]) -> Manifest:
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


def environment_entry(compiler: Mapping[str, str]) -> Entry:
    """Return the file that says which variables an environment sets: those of its *compiler*, too, if it has one."""
    # What conda-pack's activation and conda's own scripts would set; a direct launch runs none of them, so the
    # runtime sets it.
    variables = {
        "CONDA_PREFIX": "{prefix}",
        **{name: f"{{prefix}}/{path}" for name, path in compiler.items()},
    }
    text = json.dumps({"variables": variables}, indent=1, sort_keys=True) + "\n"
    return Entry(ENVIRONMENT_PATH, data=text.encode())


def _manifest_entry(text: str) -> Entry:
    return Entry(MANIFEST_PATH, data=text.encode("utf-8", "surrogateescape"))


def sum_excluded(excluded: Iterable[Excluded]) -> tuple[ManifestExclusion, ...]:
    """Return what each pattern left out in all, the largest first."""
    sums: dict[str, tuple[int, int]] = {}
    for one in excluded:
        files, size = sums.get(one.pattern, (0, 0))
        sums[one.pattern] = (files + one.files, size + one.size)
    return tuple(
        ManifestExclusion(pattern=pattern, files=files, size=size)
        for pattern, (files, size) in sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    )
