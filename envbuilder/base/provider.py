"""The interface of an opened base, and its description by conda-pack."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.segment import Excluded
from envbuilder.lockfile.model import LockedInterpreter

HISTORY = "conda-meta/history"
"""Makes a folder a conda prefix, for conda-pack and other tools."""


_DESTINATION = "/envbuilder-destination"
"""The destination prefix given to conda-pack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base, laid out in a temporary folder."""

    entries: tuple[Entry, ...]
    """The files of the interpreter and its libraries."""
    activation: tuple[Entry, ...]
    """conda-pack's ``bin/activate`` and what belongs to it, and ``conda-meta/history``."""
    excluded: tuple[Excluded, ...]
    kept: Mapping[str, str] = field(default_factory=dict)
    """Files that a rule would exclude, each with the module that imports it."""


class Provider(Protocol):
    """An opened base: where the base of an environment comes from."""

    @property
    def interpreter(self) -> LockedInterpreter:
        """The interpreter, as recorded in a lock."""

    @property
    def version(self) -> str:
        """``3.11.7``."""

    @property
    def minor(self) -> str:
        """``3.11``."""

    @property
    def key(self) -> str:
        """Identifies the exact bytes of the base."""

    def executable(self) -> Path:
        """Return the base's Python executable."""

    def lay_out(self, folder: Path, rules: PackRules, wanted: Mapping[str, str] | None = None) -> Base:
        """Create the base in the empty *folder*, and describe it.

        *wanted* are names of modules that packages import, each with a module that does: they stay, whatever default
        rules say.
        """


class _Collector:
    """Takes the place of conda-pack's archive writer, and records what it would write."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, source: str, target: str) -> None:
        """Record a file, link or empty folder."""
        path = Path(source)
        if path.is_symlink():
            self.entries.append(Entry(target, 0o777, link=os.readlink(path)))
        elif path.is_dir():
            self.entries.append(Entry(target.rstrip("/") + "/", 0o755, data=b""))
        else:
            self.entries.append(Entry(target, _mode(path), source=path))

    def add_bytes(self, source: str, data: bytes, target: str) -> None:
        """Record a file whose content conda-pack rewrote."""
        if os.fsencode(_DESTINATION) in data:  # written only where conda-pack found the prefix
            self.entries.append(Entry(target, _mode(Path(source)), data=data))
        else:
            self.add(source, target)


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o111 else 0o644


def described_by_conda_pack(folder: Path) -> Base:
    """Return the files that conda-pack finds in the prefix *folder*, and those it adds to every archive.

    Its files must contain no prefix that conda-pack would rewrite.
    """
    from conda_pack.core import CondaEnv, Packer

    # No cache of packages: every file is taken as it lies in the prefix.
    env = CondaEnv.from_prefix(str(folder), on_missing_cache="ignore")
    collector = _Collector()
    # With a destination, conda-pack rewrites prefixes itself and writes no conda-unpack, which Triton never runs.
    packer = Packer(str(folder), collector, dest_prefix=_DESTINATION)
    for file in env:
        packer.add(file)
    own = len(collector.entries)
    packer.finish()
    entries, activation = collector.entries[:own], collector.entries[own:]
    activation += [entry for entry in entries if entry.path.startswith("conda-meta/")]
    site_packages = [entry for entry in entries if entry.path.endswith("/site-packages/")]
    entries = [e for e in entries if e not in site_packages and not e.path.startswith("conda-meta/")]
    return Base(entries=tuple(entries), activation=tuple(activation), excluded=())
