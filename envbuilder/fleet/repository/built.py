"""The archive of a recipe's lock in a folder: by what this machine remembers of its builds, or by what lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from envbuilder.archive.called import ARCHIVE
from envbuilder.archive.manifest import Manifest, manifest_beside, read_manifest
from envbuilder.building.record import key_of, parse_record
from envbuilder.errors import EnvbuilderError
from envbuilder.fleet.plan import Job
from envbuilder.lockfile.digest import lock_digest
from envbuilder.store.session import Session
from envbuilder.util.documents import DocumentError
from envbuilder.util.files import file_sha256, read_regular


def find_built(job: Job, session: Session, output: Path) -> Path | None:
    """Return the archive of *job* in *output*: the one that this machine built there, or one that was brought there."""
    known = session.store.find("builds", job.key)
    if known is not None:
        try:
            record = parse_record(read_regular(known, most=2**16), where=str(known))
        except (OSError, DocumentError):
            return None
        archive = output / record.archive
        if archive.is_file():
            return archive if archive.stat().st_size == record.size else None  # a torn one is built again
    return next((path for path, found in _lying(job, output) if key_of(found) == job.key), None)


def find_of_lock(job: Job, session: Session, output: Path) -> Path | None:
    """Return the same, or else an archive of this lock with another interpreter, packing or envbuilder."""
    built = find_built(job, session, output)
    if built is not None:
        return built
    digest = lock_digest(job.lock)
    return next((path for path, found in _lying(job, output) if found.lock_digest == digest), None)


def _lying(job: Job, output: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yield the whole archives in *output* that are called by the recipe, and their manifests."""
    for suffix in (".tar.gz", ".tar"):
        for path in sorted(output.glob(f"{job.recipe.name}-*{suffix}")):
            named = ARCHIVE.fullmatch(path.name)
            if named is None or named["stem"] != job.recipe.name:
                continue
            try:
                manifest = read_manifest(manifest_beside(path))
            except EnvbuilderError:
                continue
            if manifest.recipe == job.recipe.name and _is(path, named["digest"]):
                yield path, manifest


def _is(path: Path, digest: str) -> bool:
    try:
        return file_sha256(path).startswith(digest)
    except OSError:
        return False
