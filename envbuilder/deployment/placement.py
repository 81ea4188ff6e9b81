"""Place and delete environments in their folder, and determine which are this tool's."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, read_manifest
from envbuilder.deployment.environments import find_environments
from envbuilder.deployment.record import Record, placed_environments, read_record, record_beside
from envbuilder.deployment.tree import Entry, Environment, Keep, Text, put, remove
from envbuilder.errors import DeployError, EnvbuilderError
from envbuilder.progress import Reporter
from envbuilder.util.files import file_sha256


def is_ours(place: Path, entry: Environment, manifest: Manifest) -> bool:
    """Whether a deployment may put *entry* at *place*, and later delete it there.

    It may if *place* is free, or an earlier deployment put something there. An archive or folder with the same
    content that no deployment put there is used, and never deleted.

    Raises:
        DeployError: a file or folder with other content is at *place*, and no deployment put it there.
    """
    if not os.path.lexists(place) or read_record(place) is not None:
        return True
    try:
        same = _is_same(place, entry, manifest)
    except OSError as error:
        raise DeployError(f"{place} cannot be read: {error.strerror}") from error
    if not same:
        raise DeployError(
            f"{place} already exists with different content, and was not written by a deployment",
            hint="move it away, then deploy again",
        )
    return False


def _is_same(place: Path, entry: Environment, manifest: Manifest) -> bool:
    if place.is_symlink():
        return False
    if not entry.unpacked:
        if not place.is_file():
            return False
        return place.samefile(entry.archive) or (
            place.stat().st_size == entry.archive.stat().st_size and file_sha256(place) == entry.sha256
        )
    try:
        return read_manifest(place / MANIFEST_PATH) == manifest
    except EnvbuilderError:
        return False


def place_environment(place: Path, entry: Environment, record: Record | None, reporter: Reporter) -> bool:
    """Make *place* the environment *entry*, at once, unless it is there; *record* says so beside it.

    The record comes first: a killed deployment may leave a record without an environment, which the next one
    removes, but never an environment without a record.

    Returns: whether the environment was not there.

    Raises:
        DeployError: it cannot be written.
        IntegrityError: the archive changed meanwhile.
    """
    beside = {} if record is None else {record_beside(place).name: Text(data=record.text())}
    return put(place, entry, reporter, beside=beside)


def delete_environment(place: Path, reporter: Reporter) -> None:
    """Delete an environment and its record.

    Raises:
        DeployError: it cannot be removed.
    """
    remove(place, reporter, beside=[record_beside(place).name])


def kept_entries(
    folder: Path, plan: Mapping[str, Entry], deleted: Collection[Path], named: str | None = None
) -> dict[str, Entry]:
    """List what a replaced folder keeps: environments, deployed or not, except the *deleted*."""
    kept: set[str] = set()
    for path in placed_environments(folder):
        if path not in deleted:
            kept |= {path.name, record_beside(path).name}
    for path in find_environments(folder):
        if read_record(path) is None:
            kept |= {path.name, *({record_beside(path).name} if record_beside(path).exists() else ())}
    if named and folder / named not in deleted and os.path.lexists(folder / named):
        kept.add(named)
    planned = {path.split("/")[0] for path in plan}
    return {name: Keep() for name in sorted(kept - planned)}
