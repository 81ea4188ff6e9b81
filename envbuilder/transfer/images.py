"""``envbuilder push`` and ``pull`` of images: between this machine and a registry."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from envbuilder.errors import RecipeError, StoreError
from envbuilder.images.layout import Layout, open_layout, read_small
from envbuilder.images.named import is_layout, only_image
from envbuilder.images.read import Image, read_document, read_image
from envbuilder.images.restore import restore_archive
from envbuilder.images.write import write_image
from envbuilder.progress import Task
from envbuilder.registry.connection import PUSH, MissingError
from envbuilder.registry.documents import INDEXES, MANIFESTS, Descriptor, Index, Manifest
from envbuilder.registry.reference import Reference
from envbuilder.registry.repository import Repository
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.transfer.archives import Transfer
from envbuilder.transfer.image_documents import (
    Sent,
    attach_all,
    attach_sbom,
    documents_about,
    fetch_referrers,
    images_below,
    place_beside,
)
from envbuilder.util.documents import DocumentError, parse_json

ANOTHER_STORE: Final = "ENVBUILDER_CACHE names another store"
"""The hint where this machine's store, in which images are unpacked, cannot be written."""
AT_A_TIME: Final = 4
"""Blobs that are sent at a time."""
_SEEN: Final = "images"
_MOST_REPOSITORIES: Final = 16


def push_image(
    what: Path,
    reference: Reference,
    session: Session,
    *,
    reports: Sequence[Path] = (),
    name: str | None = None,
) -> Transfer:
    """Upload the image of an archive, or one in a layout, as *reference*; of an archive what is about it, too.

    Blobs that the registry has are not sent: those of the repository, and those of another one of which this machine
    knows that it has them. The tag is moved at the end, in one step. The SBOM, the provenances beside the archive and
    *reports* of it become referrers of the image; of several platforms' images, of the one that they are about.

    Raises:
        RecipeError: *reference* names a digest, or there are reports, and the image does not say what it is made of.
        StoreError: the registry does not answer, or refuses.
        IntegrityError: a report or a provenance is of another archive, or the image is damaged.
    """
    if reference.digest is not None:
        raise RecipeError(
            f"{reference} names a digest: an image is pushed under a tag",
            hint="its digest follows from its bytes",
        )
    session.reporter.step(f"Pushing {what.name} to {reference}")
    with (
        _layout_of(what, session) as layout,
        Repository(reference, session.settings, access=PUSH) as repository,
    ):
        archive = None if is_layout(what) else what
        top = only_image(layout.index(), name, layout.place)
        images = images_below(layout, top)
        about = documents_about(images, archive, reports)
        sent = Sent()
        _send(layout, top, repository, session, sent)
        data = read_small(layout, top)
        repository.put_manifest(data, top.media_type, reference.wanted)
        attach_all(repository, about, sent)
        if archive is not None:
            attach_sbom(repository, images[0], archive, session.reporter, sent)
        return Transfer(
            archive=what,
            store=str(reference),
            sha256=images[0][1] if archive is not None else top.sha256,
            size=sent.bytes,
            sent=tuple(sent.names),
            there=sent.there,
            image=str(reference.at(top.digest)),
            moved=sent.bytes,
        )


@contextmanager
def _layout_of(what: Path, session: Session) -> Iterator[Layout]:
    """Give the layout *what*, or one of the archive *what*."""
    if is_layout(what):
        with open_layout(what) as layout:
            yield layout
        return
    with session.store.scratch("image") as folder:
        write_image([what], folder / "layout", session, elsewhere=ANOTHER_STORE)
        yield Layout(folder / "layout")


def _send(layout: Layout, top: Descriptor, repository: Repository, session: Session, sent: Sent) -> None:
    """Send everything that *top* refers to, and its manifests by their digests."""
    found = read_document(layout, top, f"{layout.place}: {top.digest[:19]}")
    if isinstance(found, Index):
        for one in found.manifests:
            _send(layout, one, repository, session, sent)
            repository.put_manifest(read_small(layout, one), one.media_type)
        return
    _upload_blobs(layout, found, repository, session, sent)


def _upload_blobs(
    layout: Layout, manifest: Manifest, repository: Repository, session: Session, sent: Sent
) -> None:
    blobs = list({one.digest: one for one in (*manifest.layers, manifest.config)}.values())
    seen = _Seen(session.store, repository.reference)
    with session.reporter.task("Pushing layers", sum(one.size for one in blobs)) as task:

        def send(blob: Descriptor) -> bool:
            new = not repository.holds(blob.digest) and not seen.mount(repository, blob)
            if new:
                _upload(layout, blob, repository, task)
            else:
                task.advance(blob.size, from_store=True)
            seen.note(blob)
            return new

        with ThreadPoolExecutor(AT_A_TIME) as pool:
            futures = {pool.submit(send, one): one for one in sorted(blobs, key=lambda one: -one.size)}
            try:
                for future, blob in futures.items():
                    if future.result():
                        sent.names.append(f"blob {blob.digest[:19]}")
                        sent.bytes += blob.size
                    else:
                        sent.there += 1
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def _upload(layout: Layout, blob: Descriptor, repository: Repository, task: Task) -> None:
    for _ in layout.read(blob):  # a layout's bytes may have changed since they were written
        pass
    with layout.ranges(blob) as read:
        repository.upload(blob, read, lambda count: task.advance(count))


class _Seen:
    """In which repositories of a registry this machine has seen a blob."""

    def __init__(self, store: Store, reference: Reference) -> None:
        self._store = store
        self._host, self._repository = reference.host, reference.repository

    def mount(self, repository: Repository, blob: Descriptor) -> bool:
        """Have a blob mounted from a repository that has it; return whether that was done."""
        others = [one for one in self._known(blob) if one != self._repository]
        return any(repository.mount(blob.digest, other) for other in others[:2])

    def note(self, blob: Descriptor) -> None:
        """Note that the repository has it."""
        known = [self._repository, *(one for one in self._known(blob) if one != self._repository)]
        if known != self._known(blob):
            body = {"repositories": known[:_MOST_REPOSITORIES]}
            with contextlib.suppress(OSError):  # it would be sent again
                self._store.write_entry(_SEEN, self._name(blob), json.dumps(body).encode())

    def _known(self, blob: Descriptor) -> list[str]:
        path = self._store.find(_SEEN, self._name(blob))
        try:
            return [] if path is None else list(parse_json(path.read_bytes(), where="").texts("repositories"))
        except (DocumentError, OSError):
            return []

    def _name(self, blob: Descriptor) -> str:
        return f"{blob.sha256}.at-{self._host.replace(':', '_')}"


# -- pull ------------------------------------------------------------------------------------------


def machine_platform() -> str:
    """Return the platform of this machine, in Go's words."""
    return f"linux/{'arm64' if platform.machine() in ('aarch64', 'arm64') else 'amd64'}"


@contextmanager
def open_remote_image(
    reference: Reference, session: Session, *, platform: str | None = None
) -> Iterator[tuple[Repository, Image]]:
    """Find the image that *reference* stands for now; everything about it is read by its digest from then on.

    Raises:
        StoreError: there is none, or the registry does not answer, or refuses.
        IntegrityError: it is something else.
    """
    with Repository(reference, session.settings) as repository:
        found = repository.manifest(reference.wanted)
        if found is None:
            raise MissingError(
                f"{reference.image} is not in the registry",
                hint=f"`envbuilder push ARCHIVE {reference}` pushes it",
            )
        top, data = found
        image = read_image(
            _Reading(repository, {top.digest: data}), top, platform=platform or machine_platform()
        )
        yield repository, image


class _Reading:
    """A repository whose manifests are read as manifests, not as blobs."""

    def __init__(self, repository: Repository, known: dict[str, bytes]) -> None:
        self._repository = repository
        self._known = known

    @property
    def place(self) -> str:
        """What it is called in errors."""
        return self._repository.place

    def read(self, wanted: Descriptor) -> Iterator[bytes]:
        """Yield the bytes of a manifest or of a blob."""
        if wanted.digest in self._known:
            yield self._known[wanted.digest]
        elif wanted.media_type in (*MANIFESTS, *INDEXES):
            found = self._repository.manifest(wanted.digest)
            if found is None:
                raise StoreError(
                    f"{self.place} has no manifest {wanted.digest[:19]}", hint="push the image again"
                )
            yield found[1]
        else:
            yield from self._repository.read(wanted)


def pull_image(reference: Reference, output: Path, session: Session) -> Transfer:
    """Bring the archive that an image was made of into the folder *output*, with what refers to the image.

    Layers that another archive in *output* has are not fetched.

    Raises:
        StoreError: it is not there, or does not come whole; *output* is as it was.
        IntegrityError: it is no image of an environment, of another platform, or not what its digests say.
    """
    session.reporter.step(f"Pulling {reference}")
    with (
        open_remote_image(reference, session) as (repository, image),
        session.store.scratch("referrers") as folder,
    ):
        about = fetch_referrers(repository, image, folder, session.reporter)
        restored = restore_archive(repository, image, output, session)
        reports, provenances = place_beside(restored.archive, about)
        return Transfer(
            archive=restored.archive,
            store=str(reference),
            sha256=restored.sha256,
            size=restored.size,
            sent=("archive",) if restored.fetched else (),
            there=0 if restored.fetched else 1,
            reports=reports,
            provenances=provenances,
            image=str(reference.at(image.descriptor.digest)),
            moved=restored.fetched,
        )
