"""The offsets of segments in an archive: recorded by a build, so that the archive need not be read to find them."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from envbuilder.store.local import Store
from envbuilder.util.documents import DIGEST, LISTING, DocumentError, Record, parse_json

if TYPE_CHECKING:
    from envbuilder.archive.manifest import Manifest
    from envbuilder.archive.segment import Segment

KIND: Final = "images"
BASE: Final = "base"
OWN: Final = "environment"
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What an image states about its environment: the manifest without the list of files."""

    recipe: str
    recipe_digest: str
    lock_digest: str
    release: str
    torch: str
    cuda: str
    python: str
    architecture: str
    """GOARCH: ``amd64``, ``arm64``."""
    level: int
    """Compression level, 0 to 9."""
    uncompressed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The parts of an archive."""

    archive: str
    """Its sha256."""
    about: About
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A run of an archive's bytes that one artifact contributed: whole gzip members, whole tar entries."""

    label: str
    """``base``, a wheel's file name, or ``environment``: activation, variables and manifest."""
    key: str
    """The key of the segment, which determines the bytes; empty if unknown or not a function of artifacts."""
    offset: int
    """Offset in the archive in bytes."""
    size: int
    """Size in the archive in bytes."""
    folders: tuple[str, ...]
    """The folders above its files, sorted, without a trailing slash."""


def folders_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Return every folder above *paths*, sorted."""
    found: set[str] = set()
    for path in paths:
        folder = posixpath.dirname(path.rstrip("/"))
        while folder and folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return tuple(sorted(found))


def plan_of(segments: Sequence[Segment]) -> tuple[Part, ...]:
    """Return the parts of an archive packed from *segments*: the base, each wheel, and the environment's own files."""
    wheels = [segment for segment in segments[1:] if segment.artifact is not None]
    groups = [(BASE, segments[:1]), *((one.label, [one]) for one in wheels)]
    groups.append((OWN, [segment for segment in segments[1:] if segment.artifact is None]))
    parts, offset = [], 0
    for label, group in groups:
        size = sum(segment.size for segment in group)
        folders = folders_of(file.path for segment in group for file in segment.files)
        key = group[0].key if len(group) == 1 else ""
        parts.append(Part(label=label, key=key, offset=offset, size=size, folders=folders))
        offset += size
    return tuple(parts)


def about(manifest: Manifest) -> About:
    """Return what an image states about the environment of *manifest*."""
    names = [package.filename for package in manifest.packages]
    arm = any("aarch64" in name for name in names) or any("aarch64" in one.subdir for one in manifest.conda)
    return About(
        recipe=manifest.recipe,
        recipe_digest=manifest.recipe_digest,
        lock_digest=manifest.lock_digest,
        release=manifest.release,
        torch=manifest.torch,
        cuda=manifest.cuda,
        python=manifest.python,
        architecture="arm64" if arm else "amd64",
        level=int(manifest.pack.get("level", 9)),
        uncompressed=bool(manifest.pack.get("uncompressed")),
    )


def keep_plan(store: Store, plan: Plan) -> None:
    """Record the parts of an archive."""
    body = {"format": _FORMAT, **asdict(plan)}
    store.write_entry(KIND, plan.archive, json.dumps(body, separators=(",", ":")).encode())


def find_plan(store: Store, archive: str) -> Plan | None:
    """Return the parts of the archive with the sha256 *archive*, if recorded here."""
    path = store.find(KIND, archive)
    if path is None:
        return None
    try:
        found = parse_json(path.read_bytes(), where=str(path), cap=LISTING)
        found.integer("format", _FORMAT, _FORMAT)
        if found.digest("archive") != archive:
            return None
        parts = tuple(_part(one) for one in found.records("parts"))
        return Plan(archive=archive, about=_about(found.record("about")), parts=parts)
    except (DocumentError, OSError):
        return None  # not usable: the archive itself is read


def find_plan_of(store: Store, begin: str) -> Plan | None:
    """Return the parts of the only archive whose sha256 begins with *begin*, if recorded here."""
    found = [path.name for path in (store.root / KIND / begin[:2]).glob(f"{begin}*")]
    return find_plan(store, found[0]) if len(found) == 1 else None


def _about(found: Record) -> About:
    return About(
        recipe=found.text("recipe"),
        recipe_digest=found.digest("recipe_digest"),
        lock_digest=found.digest("lock_digest"),
        release=found.text("release"),
        torch=found.text("torch"),
        cuda=found.text("cuda"),
        python=found.text("python"),
        architecture=found.text("architecture"),
        level=found.integer("level", most=9),
        uncompressed=found.boolean("uncompressed"),
    )


def _part(found: Record) -> Part:
    key = found.free_text("key", longest=64)
    if key and not DIGEST.pattern.fullmatch(key):
        found.expected("key", DIGEST.expected)
    return Part(
        label=found.text("label"),
        key=key,
        offset=found.integer("offset"),
        size=found.integer("size"),
        folders=found.file_paths("folders"),
    )
