"""``envbuilder push`` and ``pull`` of images: between this machine and a registry."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.archive.names import open_archive
from envbuilder.errors import EnvbuilderError, IntegrityError, RecipeError, StoreError
from envbuilder.images.layout import Layout, is_layout, only_image, open_layout, read_small
from envbuilder.images.read import Image, read_image
from envbuilder.images.restore import restore_archive
from envbuilder.images.write import write_image
from envbuilder.inventory.components import take_inventory
from envbuilder.inventory.sbom import sbom
from envbuilder.progress import Task
from envbuilder.provenance.envelope import another_beside, provenances_beside
from envbuilder.registry.documents import INDEXES, MANIFEST, Descriptor, Index, Manifest, parse_manifest
from envbuilder.registry.reference import Reference
from envbuilder.registry.referrers import attach, read_referrer, referrers
from envbuilder.registry.repository import Repository
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.transfer.archives import Transfer, provenance_text, report_beside, report_text
from envbuilder.util.documents import DOCUMENT, LISTING, DocumentError, parse_json
from envbuilder.util.files import atomic_write

AT_A_TIME: Final = 4
"""Blobs that are sent at a time."""
SBOM: Final = "application/vnd.cyclonedx+json"
PROVENANCE: Final = "application/vnd.dsse.envelope.v1+json"
REPORT: Final = "application/vnd.envbuilder.report.v1+json"
_SEEN: Final = "images"
_MOST_REPOSITORIES: Final = 16
_MOST_REFERRERS: Final = 64


@dataclass(kw_only=True, slots=True)
class _Sent:
    names: list[str] = field(default_factory=list)
    there: int = 0
    bytes: int = 0


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
    *reports* of it become referrers of the image.

    Raises:
        RecipeError: *reference* names a digest.
        StoreError: the registry does not answer, or refuses.
        IntegrityError: a report or a provenance is of another archive, or the image is damaged.
    """
    if reference.digest is not None:
        raise RecipeError(
            f"{reference} names a digest: an image is pushed under a tag",
            hint="its digest follows from its bytes",
        )
    session.reporter.step(f"Pushing {what.name} to {reference}")
    with _layout_of(what, session) as layout, Repository(reference, session.settings) as repository:
        archive = None if is_layout(what) else what
        about = [] if archive is None else _about(archive, reports)
        top = only_image(layout.index(), name, layout.place)
        sent = _Sent()
        _send(layout, top, repository, session, sent)
        data = read_small(layout, top)
        repository.put_manifest(data, top.media_type, reference.wanted)
        for kind, title, text in about:
            _attach(repository, top, kind, title, text, sent)
        if archive is not None:
            _attach_sbom(repository, top, archive, session, sent)
        sha256 = "" if archive is None else open_archive(archive).sha256
        return Transfer(
            archive=what,
            store=str(reference),
            sha256=sha256 or top.sha256,
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
        write_image([what], folder / "layout", session)
        yield Layout(folder / "layout")


def _about(archive: Path, reports: Sequence[Path]) -> list[tuple[str, str, bytes]]:
    """Return what is to be told of an archive: media type, name and text."""
    sha256 = open_archive(archive).sha256
    found = [(PROVENANCE, path.name, provenance_text(path, sha256)) for path in provenances_beside(archive)]
    return [*found, *((REPORT, path.name, report_text(path, sha256)) for path in reports)]


def _attach(repository: Repository, top: Descriptor, kind: str, title: str, text: bytes, sent: _Sent) -> None:
    subject = Descriptor(media_type=top.media_type, digest=top.digest, size=top.size)
    named = {"org.opencontainers.image.title": title}
    if attach(repository, subject, text, kind, media_type=kind, annotations=named):
        sent.names.append(title)
    else:
        sent.there += 1


def _attach_sbom(
    repository: Repository, top: Descriptor, archive: Path, session: Session, sent: _Sent
) -> None:
    if any(one.artifact_type == SBOM for one in referrers(repository, top.digest)):
        sent.there += 1
        return
    try:
        text = sbom(take_inventory(archive, reporter=session.reporter)).encode()
    except EnvbuilderError as error:  # the image is whole without it
        session.reporter.note(f"no SBOM is attached: {error.message}")
        return
    _attach(repository, top, SBOM, f"{archive.name}.cdx.json", text, sent)


def _send(layout: Layout, top: Descriptor, repository: Repository, session: Session, sent: _Sent) -> None:
    """Send everything that *top* refers to, and its manifests by their digests."""
    found = parse_manifest(read_small(layout, top), where=layout.place)
    if isinstance(found, Index):
        for one in found.manifests:
            _send(layout, one, repository, session, sent)
            repository.put_manifest(read_small(layout, one), one.media_type)
        return
    _send_blobs(layout, found, repository, session, sent)


def _send_blobs(
    layout: Layout, manifest: Manifest, repository: Repository, session: Session, sent: _Sent
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
            raise StoreError(
                f"{reference.image} is not in the registry",
                hint=f"`envbuilder push ARCHIVE {reference}` pushes it",
            )
        top, data = found
        where = f"{repository.place}: {top.digest[:19]}"
        parsed = parse_manifest(data, where=where)
        kind = parsed.media_type if isinstance(parsed, Manifest) else INDEXES[0]
        if top.media_type not in (MANIFEST, *INDEXES) and top.media_type != kind:
            raise IntegrityError(f"{where}: the registry calls it {top.media_type}, and it is {kind}")
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
        elif wanted.media_type in (MANIFEST, *INDEXES):
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
        about = fetch_referrers(repository, image, folder)
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


def fetch_referrers(repository: Repository, image: Image, folder: Path) -> list[tuple[str, Path]]:
    """Download what refers to an image into *folder*; return each file with its type.

    Raises:
        StoreError, IntegrityError: it cannot be downloaded, or does not match its digest.
    """
    fetched = []
    for number, one in enumerate(referrers(repository, image.descriptor.digest)[:_MOST_REFERRERS]):
        if one.artifact_type in (SBOM, PROVENANCE, REPORT):
            limit = LISTING if one.artifact_type == SBOM else DOCUMENT
            path = folder / str(number)
            path.write_bytes(read_referrer(repository, one, limit.size))
            fetched.append((one.artifact_type, path))
    return fetched


def place_beside(
    archive: Path, about: Iterable[tuple[str, Path]]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write beside an archive what refers to its image; return the reports and the provenances."""
    reports, provenances = [], []
    for kind, fetched in about:
        text = fetched.read_bytes()
        if kind == SBOM:
            path = archive.with_name(f"{archive.name}.cdx.json")
        elif kind == PROVENANCE:
            path = another_beside(archive, text)
            provenances.append(path)
        else:
            path = report_beside(archive, text)
            reports.append(path)
        atomic_write(path, text)
    return tuple(reports), tuple(provenances)


# -- tags ------------------------------------------------------------------------------------------


def resolve_tag(reference: Reference, session: Session) -> str:
    """Return the digest that *reference* stands for now.

    Raises:
        StoreError: there is none, or the registry does not answer.
    """
    with Repository(reference, session.settings) as repository:
        found = repository.manifest(reference.wanted)
        if found is None:
            raise StoreError(f"{reference.image} is not in the registry", hint="push an image first")
        return found[0].digest


def move_tag(reference: Reference, wanted: str, session: Session) -> str:
    """Have the tag of *reference* stand for what *wanted*, a tag or a digest of its repository, stands for now.

    Returns: the digest. A reader sees the tag before or after, nothing between.

    Raises:
        RecipeError: *reference* has no tag.
        StoreError: there is no such image, or the registry refuses.
    """
    if reference.tag is None or reference.digest is not None:
        raise RecipeError(f"{reference} has no tag", hint="for instance oci://HOST/REPOSITORY:stable")
    with Repository(reference, session.settings) as repository:
        found = repository.manifest(wanted)
        if found is None:
            raise StoreError(f"{repository.place} has no image {wanted}", hint="push it first")
        repository.put_manifest(found[1], found[0].media_type, reference.tag)
        return found[0].digest
