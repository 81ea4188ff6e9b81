"""Inputs and result of a build: its key in the store, and its report."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.manifest import (
    Manifest,
    manifest_beside,
)
from envbuilder.assemble.packing import pack_options, tools
from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import Lock, LockedInterpreter
from envbuilder.recipe.model import Recipe
from envbuilder.util.documents import Cap, Grammar, parse_json
from envbuilder.util.files import file_sha256

_RECORD: Final = Cap(size=16 * 2**10, containers=10, depth=4)
"""Largest size of a build record, which has five short values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """The result of a build."""

    archive: Path
    manifest: Manifest
    sha256: str
    size: int
    """Size of the archive in bytes."""
    already_there: bool
    """Whether a complete archive existed already."""
    segments_made: int
    segments_total: int


def build_key(recipe: Recipe, lock: Lock, interpreter: LockedInterpreter) -> str:
    """Return a sha256 over all inputs of an archive: equal keys give identical archives."""
    return _key(recipe.name, lock_digest(lock), interpreter, pack_options(recipe), tools(lock))


def key_of(manifest: Manifest) -> str:
    """Return the build key of an archive, from its manifest."""
    described = manifest.interpreter
    interpreter = LockedInterpreter(
        version=described.version, origin=described.origin, digest=described.digest
    )
    return _key(manifest.recipe, manifest.lock_digest, interpreter, manifest.pack, manifest.tools)


def _key(
    recipe: str,
    lock: str,
    interpreter: LockedInterpreter,
    pack: Mapping[str, Any],
    used: Mapping[str, str],
) -> str:
    parts = [recipe, lock, interpreter, sorted(pack.items()), sorted(used.items())]
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def record_of(report: BuildReport) -> BuildRecord:
    """Return the path of a build record in a store."""
    return BuildRecord(
        archive=report.archive.name,
        sha256=report.sha256,
        size=report.size,
        segments=report.segments_total,
        manifest=file_sha256(manifest_beside(report.archive)),
    )


DIGEST = re.compile(r"[0-9a-f]{12,64}")
_ARCHIVE: Final = Grammar(
    pattern=re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*-[0-9a-f]{12}(\.tar|\.tar\.gz)"),
    expected="an archive's file name",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRecord:
    """The result of a build under its key: enough to download it instead of building."""

    archive: str
    """The name of the archive."""
    sha256: str
    size: int
    segments: int
    manifest: str
    """sha256 of the manifest file."""

    def text(self) -> bytes:
        """Return the record as JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


def record_of_archive(archive: Path, sha256: str, manifest: Manifest) -> BuildRecord:
    """Return the record of the build of *archive*, which has this sha256 and *manifest* next to it."""
    return BuildRecord(
        archive=archive_name(manifest, sha256),
        sha256=sha256,
        size=archive.stat().st_size,
        segments=len(manifest.packages) + 2,
        manifest=file_sha256(manifest_beside(archive)),
    )


def archive_name(manifest: Manifest, sha256: str) -> str:
    """Return the file name of the archive with this manifest and sha256."""
    return f"{manifest.recipe}-{sha256[:12]}{'.tar' if manifest.pack.get('uncompressed') else '.tar.gz'}"


def parse_record(text: bytes, *, where: str) -> BuildRecord:
    """Parse a build record; *where* names it in errors.

    Raises:
        DocumentError: it is invalid.
    """
    found = parse_json(text, where=where, cap=_RECORD)
    record = BuildRecord(
        archive=found.text("archive", _ARCHIVE, longest=255),
        sha256=found.digest("sha256"),
        size=found.integer("size"),
        segments=found.integer("segments", most=10**6),
        manifest=found.digest("manifest"),
    )
    if f"-{record.sha256[:12]}." not in record.archive:
        found.fail("archive", f"{record.archive} is not named by its sha256, {record.sha256[:12]}")
    return record
