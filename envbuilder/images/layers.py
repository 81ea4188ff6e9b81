"""Layers: assign the parts of an archive to layers, and write their bytes.

A layer is a complete tar: the folders of its files (a runtime would create missing ones with other modes), the
unchanged parts of the archive, and the end of a tar. Folders and end are gzip members, too, so a layer's compressed
bytes are those of its parts between a head and a tail.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, Final

from zlib_ng import zlib_ng

from envbuilder.archive.plan import BASE, OWN, Part
from envbuilder.archive.tar import COMPRESSOR, END_OF_ARCHIVE, gzip_member, tar_header
from envbuilder.errors import IntegrityError
from envbuilder.registry.documents import LAYER_GZIP, LAYER_TAR
from envbuilder.store.local import Store
from envbuilder.util.documents import DocumentError, parse_json

MOST_LAYERS: Final = 60
"""Docker and containerd mount at most 127 layers; half of that leaves room for images built on these."""
OWN_LAYER: Final = 2**20
"""Size in an archive, in bytes, from which a wheel gets its own layer."""
BUCKETS: Final = 16
"""Number of layers for the smaller wheels, assigned by name, so that a change of one affects one layer."""
MOST_OWN: Final = MOST_LAYERS - BUCKETS - 2
"""How many wheels can have their own layer; if there are more, the largest do."""
_LEVEL: Final = 9
_RULES: Final = "1"
"""Version of the format: increment it when the same parts give different bytes."""
_CHUNK: Final = 2**20
_KIND: Final = "images"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The parts of one layer."""

    name: str
    """For display: ``base``, a wheel's file name, ``wheels-07``, ``environment``."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Digests and sizes of a layer."""

    sha256: str
    size: int
    """Compressed size in bytes."""
    diff_id: str
    """sha256 of the tar, uncompressed."""
    crc: int
    """CRC-32 of the compressed bytes, a free check of copies."""
    unpacked: int
    """Uncompressed size in bytes."""
    toc: str = ""
    """Digest of its table of contents, if it is eStargz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer of an image."""

    name: str
    parts: tuple[Part, ...]
    head: int
    """The bytes before the first part."""
    facts: Facts
    media_type: str


def group_parts(parts: Sequence[Part]) -> tuple[Group, ...]:
    """Assign parts to layers, in order: the base first, the environment's own files last.

    A wheel's layer depends only on its size and name, so a change of one wheel changes only its own layer, in all
    environments.
    """
    wheels = [part for part in parts if part.label not in (BASE, OWN)]
    large = [part for part in wheels if part.size >= OWN_LAYER]
    large = sorted(large, key=lambda part: (-part.size, part.label))[:MOST_OWN]
    alone = {part.label for part in large}
    buckets: dict[int, list[Part]] = {}
    for part in wheels:
        if part.label not in alone:
            buckets.setdefault(_bucket(part.label), []).append(part)
    groups = [Group(name=BASE, parts=tuple(part for part in parts if part.label == BASE))]
    groups += [Group(name=part.label, parts=(part,)) for part in wheels if part.label in alone]
    groups += [Group(name=f"wheels-{n:02d}", parts=tuple(some)) for n, some in sorted(buckets.items())]
    return (*groups, Group(name=OWN, parts=tuple(part for part in parts if part.label == OWN)))


def _bucket(filename: str) -> int:
    name = filename.split("-", 1)[0].lower().replace("_", "-")
    return hashlib.sha256(name.encode()).digest()[0] % BUCKETS


def _write_all(file: RawIOBase, data: bytes | memoryview) -> None:
    """Write all bytes, even if a write is partial because of a full disk or a signal."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


class _Sums:
    """Computes the digests and sizes of a layer from a stream."""

    def __init__(self, *, plain: bool, name: str) -> None:
        self._plain = plain
        self._name = name
        self._packed, self._unpacked = hashlib.sha256(), hashlib.sha256()
        self._member = zlib_ng.decompressobj(31)
        self._size = self._length = self._crc = 0

    def add(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        self._packed.update(data)
        self._crc = zlib_ng.crc32(data, self._crc)
        self._size += len(data)
        while data:
            try:
                block = data if self._plain else self._member.decompress(data, 4 * _CHUNK)
            except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
                raise IntegrityError(
                    f"{self._name} in the archive is damaged: {error}", hint="build the archive again"
                ) from error
            self._unpacked.update(block)
            self._length += len(block)
            data = b"" if self._plain else self._member.unconsumed_tail
            if not self._plain and self._member.eof:
                data = self._member.unused_data
                self._member = zlib_ng.decompressobj(31)

    def facts(self, toc: str) -> Facts:
        """Return the result."""
        return Facts(
            sha256=self._packed.hexdigest(),
            size=self._size,
            diff_id=self._unpacked.hexdigest(),
            crc=self._crc,
            unpacked=self._length,
            toc=toc,
        )


class LayerMaker:
    """Makes the layers of one archive; their digests and sizes are kept in *store*."""

    def __init__(
        self, file: BinaryIO, archive: str, *, plain: bool, store: Store, estargz: bool = False
    ) -> None:
        self._file = file
        self._archive = archive
        self._plain = plain
        self._store = store
        self._estargz = estargz
        self._heads: dict[str, bytes] = {}
        """Heads by their keys: for thousands of folders they take a while."""

    @property
    def media_type(self) -> str:
        """The keys of its layers."""
        return LAYER_TAR if self._plain else LAYER_GZIP

    def known(self, group: Group) -> Layer | None:
        """Return the layer of *group*, if its digests are known."""
        path = self._store.find(_KIND, self._key(group))
        if path is None:
            return None
        try:
            found = parse_json(path.read_bytes(), where=str(path))
            facts = Facts(
                sha256=found.digest("sha256"),
                size=found.integer("size"),
                diff_id=found.digest("diff_id"),
                crc=found.integer("crc"),
                unpacked=found.integer("unpacked"),
                toc=found.free_text("toc", longest=100),
            )
        except (DocumentError, OSError):
            return None
        if self._estargz and self._store.find(_KIND, f"{self._key(group)}.tail") is None:
            return None
        return self._layer(group, facts)

    def copy(self, group: Group, facts: Facts, blob: Path) -> None:
        """Write a layer with known digests to the file *blob*, which must not exist.

        Raises:
            IntegrityError: the archive changed.
        """
        crc = 0
        with blob.open("xb", buffering=0) as file:
            for data in itertools.chain(self._bytes(group), [self._kept_tail(group)]):
                crc = zlib_ng.crc32(data, crc)
                _write_all(file, data)
        if crc != facts.crc:
            raise IntegrityError(
                f"the archive's bytes of {group.name} have changed since it was built",
                hint="build the archive again",
            )

    def make(self, group: Group, blob: Path) -> Layer:
        """Write a layer to the file *blob*, and compute its digests and sizes."""
        sums = _Sums(plain=self._plain, name=group.name)
        toc = ""
        with blob.open("xb") as file:
            for data in self._bytes(group):
                file.write(data)
                sums.add(data)
            tail = self._end
            if self._estargz:
                from envbuilder.images.estargz import tail_of

                file.flush()
                ended = tail_of(blob)
                tail, toc = ended.data, ended.digest
                self._store.write_entry(_KIND, f"{self._key(group)}.tail", tail)
            file.write(tail)
            sums.add(tail)
        facts = sums.facts(toc)
        self._store.write_entry(_KIND, self._key(group), json.dumps(asdict(facts)).encode())
        return self._layer(group, facts)

    def _layer(self, group: Group, facts: Facts) -> Layer:
        return Layer(
            name=group.name,
            parts=group.parts,
            head=len(self._head(group)),
            facts=facts,
            media_type=self.media_type,
        )

    def _bytes(self, group: Group) -> Iterator[bytes | memoryview]:
        """Yield the bytes of a layer before its end; each block is valid until the next one."""
        yield self._head(group)
        block = memoryview(bytearray(_CHUNK))
        for part in group.parts:
            offset, left = part.offset, part.size
            while left:
                count = os.preadv(self._file.fileno(), [block[: min(_CHUNK, left)]], offset)
                if not count:
                    raise IntegrityError(
                        f"the archive ends before {part.label}", hint="build the archive again"
                    )
                yield block[:count]
                offset += count
                left -= count

    @property
    def _end(self) -> bytes:
        return END_OF_ARCHIVE if self._plain else gzip_member(END_OF_ARCHIVE, _LEVEL)

    def _kept_tail(self, group: Group) -> bytes:
        path = self._store.find(_KIND, f"{self._key(group)}.tail") if self._estargz else None
        return self._end if path is None else path.read_bytes()

    def _head(self, group: Group) -> bytes:
        key = f"{self._key(group)}.head"
        if key not in self._heads:
            path = self._store.find(_KIND, key)
            if path is not None:
                self._heads[key] = path.read_bytes()
            else:
                self._heads[key] = self._make_head(group)
                with contextlib.suppress(OSError):  # it would be computed again
                    self._store.write_entry(_KIND, key, self._heads[key])
        return self._heads[key]

    def _make_head(self, group: Group) -> bytes:
        folders = sorted({folder for part in group.parts for folder in part.folders})
        headers = b"".join(tar_header(os.fsencode(f"{folder}/"), mode=0o755) for folder in folders)
        return headers if self._plain or not headers else gzip_member(headers, _LEVEL)

    def _key(self, group: Group) -> str:
        """Return the key of a layer's facts: everything that determines its bytes."""
        keys = [part.key for part in group.parts]
        if self._plain or not all(keys):  # not made from segments, or from unknown ones
            keys = [self._archive, *(f"{part.offset}+{part.size}" for part in group.parts)]
        text = json.dumps(["layer", _RULES, COMPRESSOR, self._plain, self._estargz, *keys])
        return hashlib.sha256(text.encode()).hexdigest()
