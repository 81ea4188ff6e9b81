"""The store: the content-addressed folder of artifacts and segments on this machine.

Every file is written beside its place and moved there when it is whole, so that several builds may share a store
and a killed one leaves nothing half-made. A store that cannot be written is read; what would have been kept goes
to a temporary folder of this process instead.
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
from envbuilder.util.tempdirs import lasting_folder, locked_folder, sweep

if TYPE_CHECKING:
    from envbuilder.store.remote import RemoteStore

CACHE_VARIABLE = "ENVBUILDER_CACHE"
LIMIT_VARIABLE = "ENVBUILDER_CACHE_LIMIT"
_DEFAULT_LIMIT = 40 * 2**30
_KINDS = ("artifacts", "segments", "listings", "builds", "interpreters", "origins", "tools")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreEntry:
    """One thing the store keeps."""

    kind: str
    """``artifacts``, ``segments``, ``listings``, ``builds``, ``interpreters``, ``origins`` or ``tools``."""
    key: str
    size: int
    """Bytes on disk."""
    used: float
    """When it was last used, seconds since the epoch."""
    paths: tuple[Path, ...]


@dataclass(kw_only=True, slots=True)
class ArtifactWriter:
    """A file on its way into the store: hashed while it is written."""

    path: Path
    """Where the bytes go until they are whole."""
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
        """Begin again from nothing: a source would not continue where it broke off."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.written = 0

    @property
    def digest(self) -> str:
        """sha256 of what was written so far."""
        return self._hash.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """A store in the folder *root*."""

    root: Path
    readonly: bool = False
    limit: int | None = _DEFAULT_LIMIT
    """Bytes above which :meth:`prune` evicts what was not used for longest."""
    overflow: Path | None = None
    """Where a read-only store puts what it may not keep."""
    remote: RemoteStore | None = field(default=None, repr=False, compare=False)
    """The store elsewhere that stands behind this one: what it holds need not be fetched or made."""
    sharing: bool = field(default=False, repr=False, compare=False)
    """Whether segments are uploaded there as they are made; else only ``push`` does that."""
    _sound: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """sha256 of the artifacts that this process has read or written whole."""
    _dropped: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False, compare=False)
    """Kind and name of what was removed, where removing is not allowed: it is not found again."""

    @classmethod
    def open(cls, root: Path | None = None) -> Store:
        """Open the store at *root*, at ``ENVBUILDER_CACHE``, or where this platform keeps caches.

        What killed processes left in its temporary folder is removed. A user without a home keeps nothing.

        Raises:
            RecipeError: ``ENVBUILDER_CACHE_LIMIT`` is no size, or there is a file where the folder should be.
        """
        if root is None:
            named = os.environ.get(CACHE_VARIABLE)
            root = Path(named) if named else _user_cache()
        root = root.absolute()
        limit = parse_size(os.environ.get(LIMIT_VARIABLE, ""), where=LIMIT_VARIABLE)
        if root.exists() and not root.is_dir():
            raise RecipeError(f"the store {root} is no folder", hint=f"{CACHE_VARIABLE} names another one")
        try:
            (root / "tmp").mkdir(parents=True, exist_ok=True)
            sweep(root / "tmp")
            with locked_folder(root / "tmp", "write"):
                pass
        except OSError:
            return cls(root=root, readonly=True, limit=limit, overflow=lasting_folder("overflow"))
        return cls(root=root, limit=limit)

    # -- places ------------------------------------------------------------------------------------

    @property
    def writable(self) -> Path:
        """The folder that new entries go to."""
        return self.overflow if self.overflow is not None else self.root

    @contextlib.contextmanager
    def scratch(self, prefix: str) -> Iterator[Path]:
        """Give a folder on the store's file system that is gone afterwards."""
        with _scratch(self.writable, prefix) as folder:
            yield folder

    def entry_path(self, kind: str, name: str) -> Path:
        """Where the file *name* of *kind* goes when it is new."""
        return self.writable / kind / name[:2] / name

    def find(self, kind: str, name: str) -> Path | None:
        """Return the file *name* of *kind* if the store holds it, and note that it was used."""
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
        """Drop the file or folder *name* of *kind*; in a read-only store, do not find it again."""
        if self.readonly:
            self._dropped.add((kind, name))
        for root in (self.overflow, None if self.readonly else self.root):
            if root is None:
                continue
            path = root / kind / name[:2] / name
            if path.exists():
                with contextlib.suppress(OSError), _scratch(root, "removed") as folder:
                    path.rename(folder / name)  # at once: half of it would be found under its name

    def write_entry(self, kind: str, name: str, data: bytes) -> Path:
        """Keep *data* as *name* of *kind*."""
        path = self.entry_path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.scratch(kind) as folder:
            draft = folder / "entry"
            draft.write_bytes(data)
            draft.replace(path)
        return path

    # -- artifacts ---------------------------------------------------------------------------------

    def artifact_path(self, sha256: str) -> Path:
        """Where the artifact with this hash lies, or will lie."""
        return self.find("artifacts", sha256) or self.entry_path("artifacts", sha256)

    def find_artifact(self, sha256: str, size: int | None = None) -> Path | None:
        """Return the artifact with this hash, or None.

        Its hash was checked when it entered; one whose *size* is wrong by now is removed.
        """
        path = self.find("artifacts", sha256)
        if path is not None and size is not None and path.stat().st_size != size:
            self.remove("artifacts", sha256)
            return None
        return path

    @contextlib.contextmanager
    def artifact_writer(self, sha256: str, size: int | None = None) -> Iterator[ArtifactWriter]:
        """Let an artifact be written; it enters the store at the end if its hash is *sha256*.

        Raises:
            IntegrityError: the bytes written have another hash. Nothing enters the store.
        """
        with self.scratch("fetch") as folder:
            draft = folder / "artifact"
            with draft.open("wb") as file:
                writer = ArtifactWriter(path=draft, sha256=sha256, size=size, _file=file)
                yield writer
            if writer.digest != sha256:
                raise IntegrityError(
                    f"sha256 {writer.digest} of {writer.written} bytes, where the lock says {sha256}"
                )
            path = self.entry_path("artifacts", sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)
            self._sound.add(sha256)

    def check_artifact(self, sha256: str) -> bool:
        """Read an artifact whole; one that is no longer what its name says is removed.

        Returns: whether it was right.
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
        """Say whether an artifact is what its name says; this process reads it whole once at most."""
        return sha256 in self._sound or self.check_artifact(sha256)

    def folder(self, kind: str, key: str) -> Path:
        """Return the (not yet made) folder *key* of *kind*; make it elsewhere and move it there."""
        return self.find(kind, key) or self.entry_path(kind, key)

    # -- upkeep ------------------------------------------------------------------------------------

    def entries(self) -> list[StoreEntry]:
        """List what the store keeps, least recently used first."""
        found = []
        for kind in _KINDS:
            for path in sorted((self.root / kind).glob("*/*")):
                with contextlib.suppress(OSError):  # another process may remove it meanwhile
                    found.append(_entry(kind, path))
        return sorted(found, key=lambda entry: (entry.used, entry.kind, entry.key))

    def prune(self, limit: int | None = None) -> list[StoreEntry]:
        """Evict what was not used for longest until the store holds at most *limit* bytes.

        Returns: what was evicted. Also removes what killed builds left in the temporary folder.
        """
        if self.readonly:
            return []
        sweep(self.root / "tmp")
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
    with locked_folder(parent, prefix) as folder:
        yield folder


def _entry(kind: str, path: Path) -> StoreEntry:
    status = path.stat()
    size = status.st_size
    if path.is_dir():
        size = sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())
    return StoreEntry(kind=kind, key=path.name, size=size, used=status.st_mtime, paths=(path,))


def parse_size(text: str, *, where: str) -> int | None:
    """Read a size: ``20G``, ``500M``, ``1048576``; ``none`` is no limit; empty is the default.

    Raises:
        RecipeError: *text* is no size; *where* says where it was found.
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
        raise RecipeError(f"{where}: {text!r} is no size", hint="for instance 500M, 20G or none") from None


def _user_cache() -> Path:
    try:
        return Path(platformdirs.user_cache_dir("envbuilder"))
    except RuntimeError:  # HOME is not set, and no database knows this user: a container, most often
        return lasting_folder("cache")
