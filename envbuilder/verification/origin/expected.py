"""Compute what the locked artifacts put into an archive: every path with its mode and sha256."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from installer.records import parse_record_file

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.kept import module_of
from envbuilder.archive.segment import Excluded, FileFacts
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.assemble.wheel import wheel_files
from envbuilder.base.provider import Provider
from envbuilder.lockfile.model import Artifact
from envbuilder.util.files import file_sha256
from envbuilder.verification.origin.artifacts import open_locked
from envbuilder.verification.origin.memory import Memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """What one artifact, or this tool, puts into an archive."""

    label: str
    files: tuple[FileFacts, ...]
    folders: tuple[str, ...] = ()
    """Empty folders."""
    excluded: tuple[Excluded, ...] = ()
    """What the options of packing leave out of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How an archive says that it was packed."""

    rules: PackRules
    kept: Mapping[str, str] = field(default_factory=dict)
    """Files that default rules would leave out and that stay, each with a module that imports it."""


def wheel_contribution(
    artifact: Artifact, path: Path, *, minor: str, packing: Packing, exact: bool = False
) -> Contribution:
    """Return what the wheel at *path* contributes, bytecode not counted.

    The sha256 of its files are those that its own RECORD states; with *exact*, and where that states none, those of the
    bytes in it.

    Raises:
        AssembleError: it is no wheel.
        IntegrityError: it is another one.
        OSError: it cannot be read.
    """
    with open_locked(path, artifact) as file:
        wheel = ZipDirectory(file, artifact.filename)
        found = wheel_files(wheel, artifact.filename, minor=minor, rules=packing.rules, keep=packing.kept)
        dist_info = found.dist_info.rpartition("/")[2]
        stated = {} if exact else _stated(wheel.read(wheel.members[f"{dist_info}/RECORD"]).decode())
        facts = []
        for entry in found.entries:
            sha256 = stated.get(entry.member.name) if entry.member is not None else None
            facts.append(_wheel_fact(entry, sha256, wheel))
        own = [_fact(entry) for entry in found.record(facts)]
    return Contribution(label=artifact.filename, files=(*facts, *own), excluded=found.excluded)


def _stated(record: str) -> dict[str, str]:
    """Return the sha256 that a RECORD states, by path."""
    stated = {}
    for path, digest, _ in parse_record_file(record.splitlines()):
        if digest.startswith("sha256="):
            with suppress(ValueError):
                raw = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "==")
                if len(raw) == hashlib.sha256().digest_size:  # what is no base64 is skipped, not refused
                    stated[path] = raw.hex()
    return stated


def _wheel_fact(entry: Entry, sha256: str | None, wheel: ZipDirectory) -> FileFacts:
    if entry.member is None:
        return _fact(entry)
    if sha256 is None:
        digest = hashlib.sha256()
        for chunk in wheel.chunks(entry.member):
            digest.update(chunk)
        sha256 = digest.hexdigest()
    return FileFacts(entry.path, entry.mode, entry.member.size, sha256)


def _fact(entry: Entry) -> FileFacts:
    """Return the facts of a file that lies on disk, of one that is in memory, or of a link."""
    if entry.link is not None:
        digest = hashlib.sha256(entry.link.encode(errors="surrogateescape")).hexdigest()
        return FileFacts(entry.path, 0o777, 0, digest, link=entry.link)
    if entry.source is not None:
        return FileFacts(entry.path, entry.mode, entry.size, file_sha256(entry.source))
    return FileFacts(entry.path, entry.mode, entry.size, hashlib.sha256(entry.data or b"").hexdigest())


def contribution_of(label: str, entries: Iterable[Entry], excluded: Sequence[Excluded] = ()) -> Contribution:
    """Return *entries*, of no wheel, as a contribution."""
    entries = list(entries)
    return Contribution(
        label=label,
        files=tuple(_fact(entry) for entry in entries if not entry.path.endswith("/")),
        folders=tuple(entry.path[:-1] for entry in entries if entry.path.endswith("/")),
        excluded=tuple(excluded),
    )


def base_contributions(
    base: Provider, label: str, packing: Packing, memory: Memory
) -> tuple[Contribution, Contribution]:
    """Return what *base* contributes, and its activation: laid out in a scratch folder, as a build does.

    Raises:
        AssembleError: it cannot be laid out.
    """
    modules = {path: module_of(path, base.minor) for path in packing.kept}
    wanted = {module.name: packing.kept[path] for path, module in modules.items() if module is not None}
    key = memory.key("base", base.key, base.version, packing.rules.key(), repr(sorted(wanted.items())))
    known = memory.recall(key)
    if known is not None:
        base_files, activation = (_from_json(one) for one in known)
        return base_files, activation
    with memory.store.scratch("origin") as scratch:
        prefix = scratch / "prefix"
        prefix.mkdir()
        laid_out = base.lay_out(prefix, packing.rules, wanted)
        base_files = contribution_of(label, laid_out.entries, laid_out.excluded)
        activation = contribution_of("envbuilder", laid_out.activation)
    memory.remember(key, [_to_json(base_files), _to_json(activation)])
    return base_files, activation


def _to_json(one: Contribution) -> list[Any]:
    files = [[file.path, file.mode, file.size, file.sha256, file.link] for file in one.files]
    excluded = [[each.pattern, each.files, each.size] for each in one.excluded]
    return [one.label, files, list(one.folders), excluded]


def _from_json(row: Sequence[Any]) -> Contribution:
    label, files, folders, excluded = row
    return Contribution(
        label=label,
        files=tuple(FileFacts(*file) for file in files),
        folders=tuple(folders),
        excluded=tuple(Excluded(*one) for one in excluded),
    )
