"""A repository as a folder of objects, for a store at ``oci://HOST/REPOSITORY``: what fsspec's file systems can do.

An object is an artifact: a manifest with one blob, and its path in an annotation, so that no registry collects it as
garbage. Its tag is made of its path: the first folder, a hash of all folders, and the name, since a tag has 128
characters and no slash. What is in a folder is what has the tags of that folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Any, Final

from fsspec.spec import AbstractFileSystem

from envbuilder.config.settings import Settings
from envbuilder.errors import StoreError
from envbuilder.registry.connection import PUSH
from envbuilder.registry.documents import (
    EMPTY,
    MANIFEST,
    Descriptor,
    Manifest,
    describe,
    parse_manifest,
)
from envbuilder.registry.reference import Reference
from envbuilder.registry.referrers import reading
from envbuilder.registry.repository import Repository
from envbuilder.util.files import file_sha256

ARTIFACT: Final = "application/vnd.envbuilder.object.v1"
PATH: Final = "dev.envbuilder.path"
_BLOB: Final = "application/octet-stream"
_EMPTY: Final = b"{}"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,96}")


class RegistryFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The objects in a repository, by paths relative to it. Thread-safe."""

    protocol = "oci"
    cachable = False

    def __init__(self, reference: Reference, settings: Settings) -> None:
        """Name the repository; nothing is asked yet."""
        super().__init__()
        self._repository = Repository(reference, settings)

    # -- reading ---------------------------------------------------------------------------------------

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Return name, size and kind of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        _, blob = self._find(path)
        return {"name": path, "type": "file", "size": blob.size, "digest": blob.digest}

    def ukey(self, path: str) -> str:
        """Return what is another one once an object is written again."""
        return self._find(path)[0].digest

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Return bytes of an object."""
        _, blob = self._find(path)
        begin, stop = start or 0, blob.size if end is None else min(end, blob.size)
        return self._repository.read_range(blob, begin, stop) if begin < stop else b""

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """List a folder: objects of one in which there are some; of the root the first folders."""
        folder = path.strip("/")
        if not folder:
            kinds = sorted({tag.partition(".")[0] for tag in self._repository.tags() if tag.count(".") >= 2})
            found = [{"name": kind, "type": "directory", "size": 0} for kind in kinds]
        else:
            prefix = _prefix(folder)
            names = [tag.removeprefix(prefix) for tag in self._repository.tags(prefix)]
            found = [{"name": f"{folder}/{name}", "type": "file", "size": 0} for name in names]
        return found if detail else [one["name"] for one in found]

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Return each object below a folder, by its path."""
        folder = path.strip("/")
        kind = folder.partition("/")[0]
        found = {}
        for tag in self._repository.tags(f"{kind}."):
            with contextlib.suppress(FileNotFoundError):  # it was removed
                manifest, name = self._read(tag)
                if name.startswith(f"{folder}/"):
                    found[name] = {"name": name, "type": "file", "size": manifest.layers[0].size}
        return found

    # -- writing ---------------------------------------------------------------------------------------

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **options: Any) -> None:
        """Upload a file as an object; with *mode* ``create`` only where there is none.

        Registries know no conditional writes: of two who create the same object at the same moment, the later one
        counts, and the earlier one is told where it can see that.

        Raises:
            FileExistsError: there is one already.
        """
        if mode == "create" and self._exists(rpath):
            raise FileExistsError(rpath)
        source = Path(lpath)
        blob = Descriptor(
            media_type=_BLOB, digest=f"sha256:{file_sha256(source)}", size=source.stat().st_size
        )
        empty = describe(_EMPTY, EMPTY)
        if not self._repository.holds(empty.digest, access=PUSH):
            self._repository.upload(empty, reading(_EMPTY))
        if not self._repository.holds(blob.digest, access=PUSH):
            with source.open("rb") as file:
                self._repository.upload(blob, lambda offset, count: os.pread(file.fileno(), count, offset))
        text = Manifest(
            config=empty, layers=(blob,), artifact_type=ARTIFACT, annotations={PATH: rpath.strip("/")}
        ).text()
        self._repository.put_manifest(text, MANIFEST, _tag(rpath))
        if mode == "create" and self._find(rpath)[0].digest != describe(text, MANIFEST).digest:
            raise FileExistsError(rpath)

    def rm_file(self, path: str) -> None:
        """Remove an object.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the registry does not allow deletion.
        """
        described, _ = self._find(path)
        if not self._repository.delete_manifest(described.digest):
            raise StoreError(
                f"{self._repository.place}: the registry does not allow deletion",
                hint="docker-registry does where its configuration says `storage: {delete: {enabled: true}}`",
            )

    # -- parts -----------------------------------------------------------------------------------------

    def _exists(self, path: str) -> bool:
        return self._repository.manifest(_tag(path)) is not None

    def _find(self, path: str) -> tuple[Descriptor, Descriptor]:
        """Return the descriptors of an object's manifest and of its blob."""
        found = self._repository.manifest(_tag(path))
        if found is None:
            raise FileNotFoundError(path)
        manifest, name = self._parsed(found[1], path)
        if name != path.strip("/"):
            raise StoreError(f"{self._repository.place}: the tag of {path} is one of {name[:100]!r}")
        return found[0], manifest.layers[0]

    def _read(self, tag: str) -> tuple[Manifest, str]:
        found = self._repository.manifest(tag)
        if found is None:
            raise FileNotFoundError(tag)
        return self._parsed(found[1], tag)

    def _parsed(self, data: bytes, path: str) -> tuple[Manifest, str]:
        where = f"{self._repository.place}: {path}"
        manifest = parse_manifest(data, where=where)
        if not isinstance(manifest, Manifest) or len(manifest.layers) != 1:
            raise StoreError(
                f"{where} is not an object of a store", hint="give the store a repository of its own"
            )
        return manifest, manifest.annotations.get(PATH, "")


def _prefix(folder: str) -> str:
    kind = folder.partition("/")[0]
    return f"{kind}.{hashlib.sha256(folder.encode()).hexdigest()[:16]}."


def _tag(path: str) -> str:
    folder, _, name = path.strip("/").rpartition("/")
    if not folder or not _NAME.fullmatch(name):
        raise StoreError(
            f"{path[:200]!r} cannot be an object of a registry: a name has 96 letters and digits"
        )
    return f"{_prefix(folder)}{name}"
