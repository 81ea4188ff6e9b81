"""OCI image layouts: a folder of blobs by digest with an index, or a tar of such a folder."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from envbuilder.archive.tar import END_OF_ARCHIVE, padding, tar_header
from envbuilder.errors import IntegrityError
from envbuilder.registry.checked import checked
from envbuilder.registry.documents import (
    INDEXES,
    LONGEST,
    MANIFESTS,
    REF_NAME,
    Descriptor,
    Index,
    canonical,
    parse_manifest,
)
from envbuilder.util.documents import DocumentError, load_json, parse_json
from envbuilder.util.files import atomic_write, open_regular, read_regular

MARK: Final = "oci-layout"
IMAGE_COMMAND: Final = "envbuilder image ARCHIVE -o"
_VERSION: Final = "1.0.0"
_CHUNK: Final = 2**20
_BLOB: Final = re.compile(r"(\./)?blobs/sha256/[0-9a-f]{64}")
_MOST_MEMBERS: Final = 100_000


class Blobs(Protocol):
    """A source of an image's content: a layout, or a registry."""

    @property
    def place(self) -> str:
        """Its name in errors."""

    def read(self, wanted: Descriptor) -> Iterator[bytes]:
        """Yield the bytes of a blob, which are verified at the end.

        Raises:
            IntegrityError: they do not match its digest.
            StoreError: it is missing, or incomplete.
        """


def read_small(blobs: Blobs, wanted: Descriptor) -> bytes:
    """Return the bytes of a document.

    Raises:
        IntegrityError: they do not match its digest, or exceed the limit for documents.
        StoreError: see :meth:`Blobs.read`.
    """
    if wanted.size > LONGEST.size:
        raise IntegrityError(
            f"{blobs.place}: {wanted.digest[:19]} has {wanted.size} bytes: too many for a document"
        )
    return b"".join(blobs.read(wanted))


class Layout:
    """A layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: set[str] = set()
        """sha256 of each blob that was written by this object."""

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.folder)

    def blob(self, sha256: str) -> Path:
        """Return the path of a blob, which need not exist."""
        return self.folder / "blobs" / "sha256" / sha256

    def read(self, wanted: Descriptor) -> Iterator[bytes]:
        """Yield the bytes of a blob, see :meth:`Blobs.read`."""
        return checked(self._chunks(wanted), wanted, self.place, self._remedy(wanted))

    def _remedy(self, wanted: Descriptor) -> str:
        """Return how to restore a missing or damaged blob: one of the right size is not written again."""
        return f"remove {self.blob(wanted.sha256)}, then `{IMAGE_COMMAND} {self.place}` writes it again"

    def _chunks(self, wanted: Descriptor) -> Iterator[bytes]:
        try:
            with open_regular(self.blob(wanted.sha256)) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise IntegrityError(
                f"{self.place}: the blob {wanted.digest[:19]} cannot be read: {error.strerror}",
                hint=self._remedy(wanted),
            ) from error

    @contextmanager
    def ranges(self, wanted: Descriptor) -> Iterator[Callable[[int, int], bytes]]:
        """Give what reads bytes of a blob, by offset and count."""
        with open_regular(self.blob(wanted.sha256)) as file:
            yield lambda offset, count: os.pread(file.fileno(), count, offset)

    def index(self) -> Index:
        """Return the index of what stands in it.

        Raises:
            IntegrityError: it is no layout.
        """
        try:
            mark = load_json(self.folder / MARK)
            mark.choice("imageLayoutVersion", _VERSION)
            data = read_regular(self.folder / "index.json", most=LONGEST.size + 1)
        except DocumentError as error:
            raise IntegrityError(f"{error.message}", hint="it is not an OCI image layout 1.0.0") from error
        except OSError as error:
            raise IntegrityError(
                f"{self.place} is not an OCI image layout: {error.filename}: {error.strerror}",
                hint="`envbuilder image` writes one",
            ) from error
        return _index(data, f"{self.place}/index.json", self.place)

    # -- writing -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the folder of blobs."""
        (self.folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def holds(self, wanted: Descriptor) -> bool:
        """Whether a blob of that size exists: it was hashed when it was written."""
        try:
            return self.blob(wanted.sha256).stat().st_size == wanted.size
        except OSError:
            return False

    def put(self, data: bytes, described: Descriptor) -> Descriptor:
        """Write a document; return its descriptor."""
        if not self.holds(described):
            self.made.add(described.sha256)
            atomic_write(self.blob(described.sha256), data)
        return described

    def take(self, draft: Path, sha256: str) -> None:
        """Move a blob into the layout."""
        self.made.add(sha256)
        draft.replace(self.blob(sha256))

    def name(self, image: Descriptor, name: str) -> None:
        """List *image* in the index as *name*, replacing an entry of that name.

        Everything else in the index is kept, including unknown fields.
        """
        document: dict[str, Any] = json.loads(Index(manifests=()).text())
        if (self.folder / "index.json").exists():
            self.index()  # raises an error if it is invalid
            data = read_regular(self.folder / "index.json", most=LONGEST.size)
            document = dict(parse_json(data, where=f"{self.place}/index.json", cap=LONGEST).value)
        kept = [one for one in document["manifests"] if _ref_name(one) != name]
        named = replace(image, annotations={**image.annotations, REF_NAME: name}).json()
        document["manifests"] = sorted([*kept, named], key=lambda one: (_ref_name(one) or "", one["digest"]))
        atomic_write(self.folder / MARK, canonical({"imageLayoutVersion": _VERSION}))
        atomic_write(self.folder / "index.json", canonical(document))

    def used(self) -> set[str]:
        """Return the sha256 of everything reachable from the index.

        Raises:
            IntegrityError: the index, or what it lists, is damaged.
        """
        found: set[str] = set()
        waiting = list(self.index().manifests)
        while waiting:
            one = waiting.pop()
            if one.sha256 in found:
                continue
            found.add(one.sha256)
            if one.media_type in (*MANIFESTS, *INDEXES):
                inner = parse_manifest(read_small(self, one), where=f"{self.place}: {one.digest[:19]}")
                if isinstance(inner, Index):
                    waiting += inner.manifests
                else:
                    found |= {blob.sha256 for blob in (inner.config, *inner.layers)}
        return found


def write_tar(layout: Layout, out: Path) -> None:
    """Write the tar of a layout to *out*, which must not exist: the same bytes for the same content."""
    blobs = sorted((layout.folder / "blobs" / "sha256").iterdir())
    files = [layout.folder / MARK, layout.folder / "index.json", *blobs]
    with out.open("xb") as file:
        for path in files:
            size = path.stat().st_size
            file.write(tar_header(os.fsencode(path.relative_to(layout.folder).as_posix()), size=size))
            with path.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    file.write(chunk)
            file.write(padding(size))
        file.write(END_OF_ARCHIVE)


class TarLayout(Layout):
    """A layout in a tar, read without unpacking."""

    def __init__(self, path: Path, file: BinaryIO, members: dict[str, tuple[int, int]]) -> None:
        super().__init__(path)
        self._file = file
        self._members = members

    def _remedy(self, wanted: Descriptor) -> str:
        return f"remove {self.place}, then `{IMAGE_COMMAND} {self.place}` writes it again, or copy it again"

    def _chunks(self, wanted: Descriptor) -> Iterator[bytes]:
        return self._member(f"blobs/sha256/{wanted.sha256}")

    @contextmanager
    def ranges(self, wanted: Descriptor) -> Iterator[Callable[[int, int], bytes]]:
        """Give what reads bytes of a blob, by offset and count."""
        begin, _ = self._members[f"blobs/sha256/{wanted.sha256}"]
        yield lambda offset, count: os.pread(self._file.fileno(), count, begin + offset)

    def _member(self, name: str) -> Iterator[bytes]:
        if name not in self._members:
            raise IntegrityError(
                f"{self.place} has no {name}",
                hint=f"remove it, then `{IMAGE_COMMAND} {self.place}` writes it again",
            )
        offset, left = self._members[name]
        while left:
            data = os.pread(self._file.fileno(), min(_CHUNK, left), offset)
            if not data:
                raise IntegrityError(f"{self.place} is truncated", hint="copy it again")
            yield data
            offset, left = offset + len(data), left - len(data)

    def index(self) -> Index:
        """Return the index of what stands in it.

        Raises:
            IntegrityError: it is no layout.
        """
        if (
            self._members.get("index.json", (0, LONGEST.size + 1))[1] > LONGEST.size
            or MARK not in self._members
        ):
            raise IntegrityError(
                f"{self.place} is not a tar of an OCI image layout",
                hint="`envbuilder image -o FILE.oci.tar` writes one",
            )
        return _index(b"".join(self._member("index.json")), f"{self.place}: index.json", self.place)


def _index(data: bytes, where: str, place: str) -> Index:
    found = parse_manifest(data, where=where)
    if not isinstance(found, Index):
        raise IntegrityError(
            f"{where} is not an index", hint=f"remove {place}, then `{IMAGE_COMMAND} {place}` writes it again"
        )
    return found


def _ref_name(entry: Mapping[str, Any]) -> str | None:
    """Return the name of an entry of an index that was validated before."""
    found: str | None = (entry.get("annotations") or {}).get(REF_NAME)
    return found


@contextmanager
def open_layout(path: Path) -> Iterator[Layout]:
    """Open the layout at *path*, a folder or a tar.

    Raises:
        IntegrityError: it is not a layout.
    """
    if path.is_dir():
        yield Layout(path)
        return
    try:
        with open_regular(path) as file:
            yield TarLayout(path, file, _members(path, file))
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror or error}") from error


def _members(path: Path, file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return offset and size of each file of a layout in its tar."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for number, member in enumerate(tar):
                if number > _MOST_MEMBERS:
                    raise IntegrityError(
                        f"{path} has more than {_MOST_MEMBERS:,} members: too many for an image"
                    )
                name = member.name.removeprefix("./")
                if member.isreg() and (_BLOB.fullmatch(name) or name in (MARK, "index.json")):
                    found[name] = (member.offset_data, member.size)
                tar.members = []  # type: ignore[attr-defined]  # every header would be kept otherwise
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{path} is not a tar: {error}", hint="copy it again") from error
    return found
