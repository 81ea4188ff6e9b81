"""Read an image: its manifest for a platform, its configuration, and the facts of its environment."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from envbuilder.errors import IntegrityError
from envbuilder.images.annotations import ARCHIVE, SEGMENTS, TAIL
from envbuilder.images.layout import Blobs, read_small
from envbuilder.registry.documents import (
    INDEXES,
    LAYERS,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)
from envbuilder.util.documents import DocumentError, parse_json
from envbuilder.util.printable import printable_line
from envbuilder.util.strict_json import Cap, parse_json_value

MOST_LAYERS: Final = 127
"""Most layers that Docker and containerd can mount: the options of an overlayfs mount fit in one page of memory."""
PLATFORM: Final = "linux/amd64"
_ROWS: Final = Cap(size=2**20, containers=10_000, values=100_000, depth=4)
_DIFF_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A range of an archive in a layer."""

    number: int
    """The number of the part in the archive, from 0."""
    label: str
    offset: int
    """Its offset in the layer."""
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image for one platform."""

    descriptor: Descriptor
    manifest: Manifest
    platform: str
    diff_ids: tuple[str, ...]
    """sha256 of each layer, uncompressed."""

    @property
    def archive(self) -> str:
        """sha256 of the archive from which it was made.

        Raises:
            IntegrityError: it is not annotated.
        """
        found = self.manifest.annotations.get(ARCHIVE, "")
        if not re.fullmatch(r"[0-9a-f]{64}", found):
            raise IntegrityError(
                f"the image {self.descriptor.digest[:19]} is not one of an environment: no annotation {ARCHIVE}",
                hint="`envbuilder image` writes images of environments",
            )
        return found

    @property
    def tail(self) -> bytes:
        """The last bytes of the archive."""
        try:
            return bytes.fromhex(self.manifest.annotations.get(TAIL, ""))
        except ValueError as error:
            raise _foreign(f"its annotation {TAIL} is not hexadecimal") from error


def read_image(blobs: Blobs, top: Descriptor, *, platform: str = PLATFORM) -> Image:
    """Return the image *top*, or the one in the index *top* for *platform*.

    Raises:
        IntegrityError: it is not an image, has none for this platform, or more layers than a runtime can mount.
        StoreError: its documents cannot be downloaded.
    """
    where = f"{blobs.place}: {top.digest[:19]}"
    found = read_document(blobs, top, where)
    if isinstance(found, Index):
        top = _choose(found, platform, where)
        found = read_document(blobs, top, where)
        if isinstance(found, Index):
            raise IntegrityError(f"{where} is an index of indexes", hint="name the image by its digest")
    for layer in found.layers:
        if layer.media_type not in LAYERS:
            raise IntegrityError(
                f"{where}: a layer's media type is {layer.media_type}, which is not read",
                hint=f"layers are {', '.join(LAYERS[:2])}: `envbuilder image` writes them",
            )
    if len(found.layers) > MOST_LAYERS:
        raise IntegrityError(
            f"{where} has {len(found.layers)} layers: a runtime mounts {MOST_LAYERS} at most",
            hint="`envbuilder image` makes 60 at most; squash what was added",
        )
    os, architecture, diff_ids = _config(blobs, found, where)
    if f"{os}/{architecture}" != platform:
        raise IntegrityError(
            f"{where} is for {printable_line(f'{os}/{architecture}')}, not for {platform}",
            hint="pull the one of this platform, or add it to the index: envbuilder image ARCHIVE ARCHIVE",
        )
    if len(diff_ids) != len(found.layers):
        raise IntegrityError(f"{where} has {len(found.layers)} layers, and its configuration {len(diff_ids)}")
    return Image(descriptor=top, manifest=found, platform=platform, diff_ids=diff_ids)


def read_document(blobs: Blobs, wanted: Descriptor, where: str) -> Manifest | Index:
    """Return the manifest or the index *wanted*.

    Raises:
        IntegrityError: it is neither, or does not match its media type.
        StoreError: it cannot be downloaded.
    """
    if wanted.media_type not in (*MANIFESTS, *INDEXES):
        raise IntegrityError(
            f"{where}: its media type is {wanted.media_type}, which is neither an image's manifest nor an index",
            hint="check that it is an image",
        )
    found = parse_manifest(read_small(blobs, wanted), where=where)
    if found.media_type != wanted.media_type:  # CVE-2021-41190
        raise IntegrityError(
            f"{where} is called {wanted.media_type}, and it is {found.media_type}",
            hint="push the image again; if it persists, ask the registry's owner",
        )
    return found


def _choose(index: Index, platform: str, where: str) -> Descriptor:
    exact = [one for one in index.manifests if str(one.platform) == platform]
    found = exact or [one for one in index.manifests if one.platform is None]
    if not found:
        listed = sorted({str(one.platform) for one in index.manifests})
        has = printable_line(", ".join(listed[:8]))[:200] or "nothing"
        raise IntegrityError(
            f"{where} has no image for {platform}: it has {has}", hint="build one for this platform"
        )
    return found[0]


def _config(blobs: Blobs, manifest: Manifest, where: str) -> tuple[str, str, tuple[str, ...]]:
    try:
        config = parse_json(read_small(blobs, manifest.config), where=f"{where}: configuration")
        if "os" not in config or "rootfs" not in config:
            raise IntegrityError(
                f"{where} is an artifact ({manifest.config.media_type}), no image", hint="name an image"
            )
        diff_ids = config.record("rootfs").texts("diff_ids")
        os, architecture = config.text("os", longest=100), config.text("architecture", longest=100)
    except DocumentError as error:
        raise IntegrityError(f"{error.message}", hint="write the image again") from error
    wrong = [one for one in diff_ids if not _DIFF_ID.fullmatch(one)]
    if wrong:
        raise IntegrityError(
            f"{where}: its configuration names a layer {wrong[0][:80]!r}, which is no sha256"
        )
    return os, architecture, tuple(one.removeprefix("sha256:") for one in diff_ids)


def runs_of(image: Image) -> tuple[tuple[Run, ...], ...]:
    """Return the ranges of the archive in each layer.

    Raises:
        IntegrityError: the image has no valid ranges: it was not written by this tool, or was changed.
    """
    found = tuple(_runs(layer) for layer in image.manifest.layers)
    numbers = sorted(run.number for runs in found for run in runs)
    if not numbers or numbers != list(range(len(numbers))):
        raise _foreign("its layers are not all parts of the archive, each once")
    return found


def _runs(layer: Descriptor) -> tuple[Run, ...]:
    text = layer.annotations.get(SEGMENTS)
    if text is None:
        raise _foreign(f"the layer {layer.digest[:19]} has no annotation {SEGMENTS}")
    try:
        rows = parse_json_value(text, where=SEGMENTS, cap=_ROWS)
    except DocumentError as error:
        raise _foreign(f"its annotation {SEGMENTS}: {error.reason}") from error
    runs, end = [], 0
    for row in rows if isinstance(rows, list) else [None]:
        run = _run(row)
        if run is None or run.offset < end or run.offset + run.size > layer.size:
            raise _foreign(f"its annotation {SEGMENTS} is not valid: {json.dumps(row)[:80]}")
        runs.append(run)
        end = run.offset + run.size
    return tuple(runs)


def _run(row: object) -> Run | None:
    if not isinstance(row, list) or len(row) != 4 or not isinstance(row[1], str):
        return None
    if not all(type(one) is int and 0 <= one < 2**50 for one in (row[0], *row[2:])):
        return None
    return Run(number=row[0], label=row[1], offset=row[2], size=row[3])


def _foreign(why: str) -> IntegrityError:
    return IntegrityError(
        f"the image is not as `envbuilder image` wrote it: {why}",
        hint="push the image that `envbuilder image` writes, as it is",
    )
