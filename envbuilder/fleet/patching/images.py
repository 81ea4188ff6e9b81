"""Images of environments: in layouts beside the archives, and in registries, by what their annotations say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.config.settings import Settings
from envbuilder.images.annotations import ARCHIVE, OURS
from envbuilder.images.layout import open_layout, read_small
from envbuilder.images.named import is_layout
from envbuilder.registry.documents import REF_NAME, Index, Manifest, parse_manifest
from envbuilder.registry.reference import Reference
from envbuilder.registry.repository import Repository

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OBJECT: Final = re.compile(r"[a-z]+\.[0-9a-f]{16}\..+|sha256-[0-9a-f]{64}.*")
"""Tags of a store's objects, and of referrers: there may be thousands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An image of an environment."""

    name: str
    """Its reference: ``oci://HOST/REPOSITORY:TAG``, or a layout and its name there."""
    sha256: str
    """SHA-256 of the archive that it was made from."""
    lock_digest: str
    recipe: str


def images_in_layouts(folder: Path) -> Iterator[Found]:
    """Yield the images in the layouts in *folder*.

    Raises:
        IntegrityError: a layout cannot be read.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not is_layout(path):
            continue
        with open_layout(path) as layout:
            for top in layout.index().manifests:
                found = parse_manifest(read_small(layout, top), where=layout.place)
                below = found.manifests if isinstance(found, Index) else ()
                every = [
                    found,
                    *(parse_manifest(read_small(layout, one), where=layout.place) for one in below),
                ]
                name = top.annotations.get(REF_NAME)
                yield from _images(every, f"{path}:{name}" if name else str(path))


def images_in_registry(reference: Reference, settings: Settings) -> Iterator[Found]:
    """Yield the image that *reference* names; without tag or digest, all that have a tag in its repository.

    Raises:
        StoreError: the registry does not answer, or refuses.
        IntegrityError: it answers with something else.
    """
    with Repository(reference, settings) as repository:
        named = reference.digest or reference.tag
        tags = [named] if named else [tag for tag in repository.tags() if not _OBJECT.fullmatch(tag)]
        for tag in tags:
            every = []
            asked = [tag]
            while asked:
                answer = repository.manifest(asked.pop())
                if answer is None:
                    continue  # removed meanwhile
                found = parse_manifest(answer[1], where=f"{repository.place}: {tag}")
                every.append(found)
                asked += [one.digest for one in found.manifests] if isinstance(found, Index) else []
            base = f"oci://{reference.host}/{reference.repository}"
            yield from _images(every, f"{base}@{tag}" if reference.digest else f"{base}:{tag}")


def _images(manifests: list[Manifest | Index], name: str) -> Iterator[Found]:
    known: set[str] = set()
    for one in manifests:
        said = one.annotations
        sha256 = said.get(ARCHIVE, "")
        if isinstance(one, Manifest) and _SHA256.fullmatch(sha256) and sha256 not in known:
            known.add(sha256)
            yield Found(
                name=name,
                sha256=sha256,
                lock_digest=said.get(f"{OURS}lock-digest", ""),
                recipe=said.get(f"{OURS}recipe", ""),
            )
