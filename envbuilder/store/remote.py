"""A store elsewhere: what it keeps is named by digest, and there is one way in and one way out.

An object is uploaded once, only where there is none of its name, and read back afterwards. It is never believed when
it is read: an artifact's and an archive's name is the sha256 of its bytes; every other object begins with a *seal*, the
sha256 of its name and of what follows, so that neither a truncated object nor another one's bytes go for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from envbuilder.errors import IntegrityError
from envbuilder.store.objects import Elsewhere
from envbuilder.util.files import file_sha256

Kind = Literal[
    "artifacts", "segments", "archives", "manifests", "reports", "provenances", "builds", "aliases"
]
NAMED_BY_BYTES: Final = ("artifacts", "archives")
SEAL_BYTES: Final = 65
"""A sha256 in hex and a newline."""


class RemoteStore:
    """The store at an address. Thread-safe."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        """Name the store; nothing is asked yet.

        Raises:
            RecipeError: see :class:`Elsewhere`.
        """
        self._files = Elsewhere(url, timeout=timeout)
        self._seen: set[str] = set()
        """Objects that are there, for certain: they are never changed."""

    @property
    def url(self) -> str:
        """Its address."""
        return self._files.url

    def place(self, kind: Kind, name: str) -> str:
        """Name an object to a person."""
        return self._files.place(_path(kind, name))

    # -- out ---------------------------------------------------------------------------------------

    def holds(self, kind: Kind, name: str) -> bool:
        """Whether there is such an object.

        Raises:
            StoreError: the store does not answer.
        """
        path = _path(kind, name)
        if path not in self._seen and self._files.size(path) is not None:
            self._seen.add(path)
        return path in self._seen

    def read(self, kind: Kind, name: str) -> Iterator[bytes]:
        """Yield the bytes of an artifact or an archive. Who takes them looks at their sha256.

        Raises:
            StoreError: it is not there, or does not come whole.
        """
        return self._files.read(_path(kind, name))

    def read_sealed(self, kind: Kind, name: str) -> bytes | None:
        """Return what an object holds, or None: there is none.

        Raises:
            StoreError: the store does not answer.
            IntegrityError: the object is not what was uploaded under its name.
        """
        found = self._files.read_whole(_path(kind, name))
        if found is None:
            return None
        body = found[SEAL_BYTES:]
        if found[:SEAL_BYTES] != seal(kind, name, body):
            raise IntegrityError(
                f"{self.place(kind, name)} is not what was uploaded there: {len(found)} bytes",
                hint="remove it there, and push again",
            )
        return body

    def names(self, kind: Kind, prefix: str) -> list[str]:
        """List the objects whose name begins with *prefix*, of two characters at least.

        Raises:
            StoreError: the store does not answer.
        """
        folder, _, begin = prefix.rpartition("/")
        folder = f"{kind}/{folder}" if folder else f"{kind}/{prefix[:2]}"
        return [name for name in self._files.names(folder) if name.startswith(begin)]

    # -- in ----------------------------------------------------------------------------------------

    def put(self, kind: Kind, name: str, source: Path) -> bool:
        """Upload the file *source*, sealed where its kind asks for it, if it is not there; return whether it was not.

        An object of another size under that name, which an upload that broke off may leave on some stores, is replaced.

        Raises:
            StoreError: it cannot be written.
            IntegrityError: what is there afterwards is something else.
        """
        path = _path(kind, name)
        if path in self._seen:
            return False
        size = source.stat().st_size
        found = self._files.size(path)
        if found == size:
            self._seen.add(path)
            return False
        if found is not None:
            self._files.replace(path, source)
        elif not self._files.create(path, source) and self._files.size(path) == size:
            self._seen.add(path)
            return False  # somebody else was faster
        self._check(path, name if kind in NAMED_BY_BYTES else file_sha256(source))
        self._seen.add(path)
        return True

    def _check(self, path: str, sha256: str) -> None:
        """Read an object back."""
        there = hashlib.sha256()
        for chunk in self._files.read(path):
            there.update(chunk)
        if there.hexdigest() != sha256:
            raise IntegrityError(
                f"{self._files.place(path)}: sha256 {there.hexdigest()} after the upload, {sha256} before",
                hint="remove it there, and push again",
            )

    def create(self, kind: Kind, name: str, source: Path) -> bool:
        """Upload *source* if nobody has that name yet; return whether that was so.

        Raises:
            StoreError: it cannot be written.
        """
        return self._files.create(_path(kind, name), source)


def seal(kind: Kind, name: str, body: bytes) -> bytes:
    """Return what an object begins with that is not named by its bytes."""
    return hashlib.sha256(f"{kind}/{name}\0".encode() + body).hexdigest().encode() + b"\n"


def _path(kind: Kind, name: str) -> str:
    return f"{kind}/{name}" if "/" in name else f"{kind}/{name[:2]}/{name}"
