"""The store: the content-addressed folder of artifacts and segments on this machine.

Every file is written to a temporary path and renamed, so that several builds can share a store and a killed build
leaves nothing incomplete. A read-only store is used too; new entries then go to a temporary folder of this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import platformdirs

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.util.files import file_sha256
from envbuilder.util.spread import spread_folders
from envbuilder.util.tempdirs import lasting_folder, locked_folder, remove_stale

if TYPE_CHECKING:
    from envbuilder.store.remote import RemoteStore

CACHE_VARIABLE = "ENVBUILDER_CACHE"
LIMIT_VARIABLE = "ENVBUILDER_CACHE_LIMIT"
_DEFAULT_LIMIT = 40 * 2**30
_KINDS = (
    "artifacts",
    "segments",
    "listings",
    "builds",
    "images",
    "interpreters",
    "origins",
    "proofs",
    "tools",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreEntry:
    """One entry of the store."""

    kind: str
    """``artifacts``, ``segments``, ``listings``, ``builds``, ``images``, ``interpreters``, ``origins``, ``proofs`` or
    ``tools``."""
    key: str
    size: int
    """Size on disk in bytes."""
    used: float
    """Time of last use in seconds since the epoch."""
    paths: tuple[Path, ...]


@dataclass(kw_only=True, slots=True)
class ArtifactWriter:
    """Writes an artifact into the store and hashes it."""

    path: Path
    """The temporary file for the incomplete artifact."""
    sha256: str
    size: int | None
    _file: BinaryIO
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    written: int = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*."""
        self._file.write(data)
        self._hash.update(data)
        self.written += len(data)

    def restart(self) -> None:
        """Start over, because a source could not resume."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.written = 0

    @property
    def digest(self) -> str:
        """sha256 of the bytes written so far."""
        return self._hash.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A store in the folder *root*."""

    root: Path
    readonly: bool = False
    limit: int | None = _DEFAULT_LIMIT
    """Size limit in bytes: above it :meth:`prune` evicts the least recently used entries."""
    overflow: Path | None = None
    """Where a read-only store puts new entries."""
    remote: RemoteStore | None = field(default=None, repr=False, compare=False)
    """The remote store behind this one: what it contains need not be fetched or built."""
    sharing: bool = field(default=False, repr=False, compare=False)
    """Whether segments are uploaded as they are built; otherwise only ``push`` uploads."""
    _sound: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """sha256 of the artifacts that this process has verified."""
    _dropped: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False, compare=False)
    """Kind and name of entries removed from a read-only store: they are treated as missing."""

    @classmethod
    def open(cls, root: Path | None = None) -> Store:
        """Open the store at *root*, ``ENVBUILDER_CACHE``, or in the platform's cache directory.

        Temporary files of killed processes are removed. For a user without a home directory nothing is kept.

        Raises:
            RecipeError: ``ENVBUILDER_CACHE_LIMIT`` is not a size, or *root* is a file.
        """
        if root is None:
            named = os.environ.get(CACHE_VARIABLE)
            root = Path(named) if named else _user_cache()
        root = root.absolute()
        limit = parse_size(os.environ.get(LIMIT_VARIABLE, ""), where=LIMIT_VARIABLE)
        if root.exists() and not root.is_dir():
            raise RecipeError(
                f"the store {root} is not a folder", hint=f"set {CACHE_VARIABLE} to another path"
            )
        try:
            (root / "tmp").mkdir(parents=True, exist_ok=True)
            remove_stale(root / "tmp")
            with locked_folder(root / "tmp", "write"):
                pass
        except OSError:
            return cls(root=root, readonly=True, limit=limit, overflow=lasting_folder("overflow"))
        return cls(root=root, limit=limit)

    # -- places ------------------------------------------------------------------------------------

    @property
    def writable(self) -> Path:
        """The folder for new entries."""
        return self.overflow if self.overflow is not None else self.root

    @contextlib.contextmanager
    def scratch(self, prefix: str) -> Iterator[Path]:
        """Yield a temporary folder on the store's file system, removed on exit."""
        with _scratch(self.writable, prefix) as folder:
            yield folder

    def entry_path(self, kind: str, name: str) -> Path:
        """Return the path for a new file *name* of *kind*."""
        return self.writable / kind / name[:2] / name

    def find(self, kind: str, name: str) -> Path | None:
        """Return the file *name* of *kind* if the store contains it, and update its time of use."""
        for root in (self.overflow, self.root):
            if root is None or (root == self.root and (kind, name) in self._dropped):
                continue
            path = root / kind / name[:2] / name
            if path.exists():
                if not self.readonly:
                    with contextlib.suppress(OSError):
                        os.utime(path)
                return path
        return None

    def remove(self, kind: str, name: str) -> None:
        """Remove the file or folder *name* of *kind*; in a read-only store, treat it as missing."""
        if self.readonly:
            self._dropped.add((kind, name))
        for root in (self.overflow, None if self.readonly else self.root):
            if root is None:
                continue
            path = root / kind / name[:2] / name
            if path.exists():
                with contextlib.suppress(OSError), _scratch(root, "removed") as folder:
                    path.rename(folder / name)  # atomically, so that no partial entry is found

    def write_entry(self, kind: str, name: str, data: bytes) -> Path:
        """Store *data* as *name* of *kind*."""
        path = self.entry_path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.scratch(kind) as folder:
            draft = folder / "entry"
            draft.write_bytes(data)
            draft.replace(path)
        return path

    # -- artifacts ---------------------------------------------------------------------------------

    def artifact_path(self, sha256: str) -> Path:
        """Return the path of the artifact with this hash, whether or not it exists."""
        return self.find("artifacts", sha256) or self.entry_path("artifacts", sha256)

    def find_artifact(self, sha256: str, size: int | None = None) -> Path | None:
        """Return the artifact with this hash, or None.

        Its hash was checked when it was added; an artifact with a wrong *size* is removed.
        """
        path = self.find("artifacts", sha256)
        if path is not None and size is not None and path.stat().st_size != size:
            self.remove("artifacts", sha256)
            return None
        return path

    @contextlib.contextmanager
    def artifact_writer(self, sha256: str, size: int | None = None) -> Iterator[ArtifactWriter]:
        """Yield a writer for an artifact; it is added to the store at the end if its hash is *sha256*.

        Raises:
            IntegrityError: the written bytes have another hash; nothing is added.
        """
        with self.scratch("fetch") as folder:
            draft = folder / "artifact"
            with draft.open("wb") as file:
                writer = ArtifactWriter(path=draft, sha256=sha256, size=size, _file=file)
                yield writer
            if writer.digest != sha256:
                raise IntegrityError(
                    f"expected sha256 {sha256} as locked, got {writer.digest} ({writer.written} bytes)"
                )
            path = self.entry_path("artifacts", sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)
            self._sound.add(sha256)

    def check_artifact(self, sha256: str) -> bool:
        """Verify the sha256 of an artifact; a damaged one is removed.

        Returns: whether it was valid.
        """
        self._sound.discard(sha256)
        path = self.find("artifacts", sha256)
        if path is None:
            return False
        if file_sha256(path) == sha256:
            self._sound.add(sha256)
            return True
        self.remove("artifacts", sha256)
        return False

    def trust_artifact(self, sha256: str) -> bool:
        """Return whether an artifact matches its checksum; each process reads it at most once."""
        return sha256 in self._sound or self.check_artifact(sha256)

    def folder(self, kind: str, key: str) -> Path:
        """Return the path for a new folder *key* of *kind*; create the folder elsewhere and move it there."""
        return self.find(kind, key) or self.entry_path(kind, key)

    # -- upkeep ------------------------------------------------------------------------------------

    def entries(self) -> list[StoreEntry]:
        """List the store's entries, least recently used first."""
        found = []
        for kind in _KINDS:
            for path in sorted((self.root / kind).glob("*/*")):
                with contextlib.suppress(OSError):  # another process may remove it meanwhile
                    found.append(_entry(kind, path))
        return sorted(found, key=lambda entry: (entry.used, entry.kind, entry.key))

    def prune(self, limit: int | None = None) -> list[StoreEntry]:
        """Evict the least recently used entries until the store holds at most *limit* bytes.

        Returns: the evicted entries. Also removes temporary files of killed builds.
        """
        if self.readonly:
            return []
        remove_stale(self.root / "tmp")
        bound = self.limit if limit is None else limit
        if bound is None:
            return []
        entries = self.entries()
        total = sum(entry.size for entry in entries)
        evicted = []
        for entry in entries:
            if total <= bound:
                break
            self.remove(entry.kind, entry.key)
            total -= entry.size
            evicted.append(entry)
        return evicted

    def clear(self) -> list[StoreEntry]:
        """Evict everything."""
        return self.prune(0)


@contextlib.contextmanager
def _scratch(root: Path, prefix: str) -> Iterator[Path]:
    parent = root / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    spread_folders(parent)
    with locked_folder(parent, prefix) as folder:
        yield folder


def _entry(kind: str, path: Path) -> StoreEntry:
    status = path.stat()
    size = status.st_size
    if path.is_dir():
        size = sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
    return StoreEntry(kind=kind, key=path.name, size=size, used=status.st_mtime, paths=(path,))


def parse_size(text: str, *, where: str) -> int | None:
    """Parse a size: ``20G``, ``500M``, ``1048576``; ``none`` is no limit; empty is the default.

    Raises:
        RecipeError: *text* is not a size; *where* names its source.
    """
    if not text:
        return _DEFAULT_LIMIT
    if text.lower() == "none":
        return None
    factor = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}.get(text[-1].upper(), 1)
    number = text[:-1] if factor != 1 else text
    try:
        size = int(float(number) * factor)
        if size < 0:
            raise ValueError("less than nothing")
        return size
    except (ValueError, OverflowError):
        raise RecipeError(f"{where}: {text!r} is not a size", hint="for example 500M, 20G or none") from None


def _user_cache() -> Path:
    try:
        return Path(platformdirs.user_cache_dir("envbuilder"))
    except RuntimeError:  # no HOME and no passwd entry for this user, as in some containers
        return lasting_folder("cache")
