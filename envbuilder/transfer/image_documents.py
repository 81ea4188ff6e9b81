"""Documents about the archive in an image, in a registry: SBOM, provenances and reports, as referrers of the image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.errors import EnvbuilderError, IntegrityError, RecipeError, StoreError
from envbuilder.images.annotations import ARCHIVE
from envbuilder.images.layout import Layout
from envbuilder.images.read import Image, read_document
from envbuilder.inventory.components import take_inventory
from envbuilder.inventory.sbom import sbom
from envbuilder.progress import Reporter
from envbuilder.provenance.envelope import another_beside, provenances_beside
from envbuilder.registry.documents import Descriptor, Index
from envbuilder.registry.referrers import (
    ForeignReferrerError,
    Referrer,
    attach,
    keep_listed,
    read_referrer,
    referrers,
)
from envbuilder.registry.repository import Repository
from envbuilder.transfer.archives import provenance_text, report_beside, report_text
from envbuilder.util.documents import DOCUMENT, LISTING, DocumentError, parse_json
from envbuilder.util.files import atomic_write, read_regular

SBOM: Final = "application/vnd.cyclonedx+json"
PROVENANCE: Final = "application/vnd.dsse.envelope.v1+json"
REPORT: Final = "application/vnd.envbuilder.report.v1+json"
_MOST: Final = 64
"""Documents about one image that are read."""
_TITLE: Final = "org.opencontainers.image.title"


@dataclass(kw_only=True, slots=True)
class Sent:
    """What a push has sent so far."""

    names: list[str] = field(default_factory=list)
    there: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """A document about an image, which is not sent yet."""

    subject: Descriptor
    kind: str
    title: str
    text: bytes


# -- push ------------------------------------------------------------------------------------------


def images_below(layout: Layout, top: Descriptor) -> list[tuple[Descriptor, str]]:
    """Return each image that *top* is or lists, with the sha256 of its archive; those without one are left out.

    Raises:
        IntegrityError: *top*, or what it lists, is damaged.
    """
    found = read_document(layout, top, f"{layout.place}: {top.digest[:19]}")
    if isinstance(found, Index):
        return [one for inner in found.manifests for one in images_below(layout, inner)]
    sha256 = found.annotations.get(ARCHIVE)
    return [] if sha256 is None else [(top, sha256)]


def documents_about(
    images: Sequence[tuple[Descriptor, str]], archive: Path | None, reports: Sequence[Path]
) -> list[About]:
    """Return the provenances beside *archive* and the *reports*, each with the image that it is about.

    Raises:
        RecipeError: there are reports, and no image of an archive.
        IntegrityError: one is invalid, or of another archive.
        StoreError: one cannot be read.
    """
    found = []
    if archive is not None:
        top, sha256 = images[0]
        found += [
            About(subject=top, kind=PROVENANCE, title=path.name, text=provenance_text(path, sha256))
            for path in provenances_beside(archive)
        ]
    return [*found, *(_report(path, images) for path in reports)]


def _report(path: Path, images: Sequence[tuple[Descriptor, str]]) -> About:
    if not images:
        raise RecipeError(
            f"{path} cannot be attached: the image does not say of which archive it is",
            hint="push the image without --report, or one that `envbuilder image` wrote",
        )
    for number, (subject, sha256) in enumerate(images, 1):
        try:
            text = report_text(path, sha256)
        except IntegrityError:
            if number == len(images):
                raise
        else:
            return About(subject=subject, kind=REPORT, title=path.name, text=text)
    raise AssertionError


def attach_all(repository: Repository, documents: Iterable[About], sent: Sent) -> None:
    """Attach documents, each to its image, and see to it that all are listed at the end.

    Raises:
        StoreError, IntegrityError: see :func:`envbuilder.registry.referrers.attach`.
    """
    attached: dict[str, list[Descriptor]] = {}
    for one in documents:
        described = _attach(repository, one, {}, sent)
        attached.setdefault(one.subject.digest, []).append(described)
    for digest, described_all in attached.items():
        keep_listed(repository, digest, described_all)


def attach_sbom(
    repository: Repository, image: tuple[Descriptor, str], archive: Path, reporter: Reporter, sent: Sent
) -> None:
    """Attach the SBOM of *archive* to its image, unless the one of this tool is there.

    Raises:
        StoreError, IntegrityError: see :func:`envbuilder.registry.referrers.attach`.
    """
    top, sha256 = image
    if any(one.annotations.get(ARCHIVE) == sha256 for one in referrers(repository, top.digest, SBOM)):
        sent.there += 1
        return
    try:
        text = sbom(take_inventory(archive, reporter=reporter)).encode()
    except EnvbuilderError as error:  # the image is whole without it
        reporter.note(f"no SBOM is attached: {error.message}")
        return
    one = About(subject=top, kind=SBOM, title=f"{archive.name}.cdx.json", text=text)
    described = _attach(repository, one, {ARCHIVE: sha256}, sent)
    keep_listed(repository, top.digest, (described,))


def _attach(repository: Repository, one: About, more: Mapping[str, str], sent: Sent) -> Descriptor:
    subject = Descriptor(media_type=one.subject.media_type, digest=one.subject.digest, size=one.subject.size)
    described, new = attach(repository, subject, one.text, one.kind, annotations={_TITLE: one.title, **more})
    if new:
        sent.names.append(one.title)
    else:
        sent.there += 1
    return described


# -- pull ------------------------------------------------------------------------------------------


def fetch_referrers(
    repository: Repository, image: Image, folder: Path, reporter: Reporter
) -> list[tuple[str, Path]]:
    """Download what refers to an image and is about its archive into *folder*; return each file with its type.

    Anybody who may push to the repository can attach something: what is not about the archive is left out, and noted.

    Raises:
        StoreError, IntegrityError: it cannot be downloaded, or does not match its digest.
    """
    sha256 = image.manifest.annotations.get(ARCHIVE)
    if sha256 is None:  # not an image of an archive: nothing is about it
        return []
    fetched = []
    known = [one for one in referrers(repository, image.descriptor.digest) if one.artifact_type in _CHECKS]
    if len(known) > _MOST:
        reporter.note(f"{len(known)} documents refer to the image: the first {_MOST} are read")
    for number, one in enumerate(known[:_MOST]):
        path = folder / str(number)
        why = _fetch(repository, image, one, sha256, path)
        if why is None:
            fetched.append((one.artifact_type, path))
        else:
            reporter.note(f"skipped: {why}")
    return fetched


def _fetch(repository: Repository, image: Image, one: Referrer, sha256: str, path: Path) -> str | None:
    """Download a document to *path*; return why it is of no use, or None."""
    limit = LISTING if one.artifact_type == SBOM else DOCUMENT
    try:
        path.write_bytes(read_referrer(repository, one, image.descriptor.digest, limit.size))
    except ForeignReferrerError as error:
        return error.message
    try:
        _CHECKS[one.artifact_type](path, sha256)
    except (IntegrityError, StoreError):
        what = f"{repository.place}: {one.descriptor.digest[:19]} ({one.artifact_type})"
        return f"{what} is not about the archive {sha256[:12]}"
    return None


def _check_sbom(path: Path, sha256: str) -> None:
    """Refuse an SBOM that is not one of this tool's of the archive: others may attach theirs to the image."""
    try:
        found = parse_json(read_regular(path, most=LISTING.size), where="SBOM", cap=LISTING)
        hashes = found.record("metadata").record("component").records("hashes", most=100)
        if not any(one.free_text("content") == sha256 for one in hashes):
            raise IntegrityError("the SBOM is not of this archive")
    except DocumentError as error:
        raise IntegrityError(error.message) from error


_CHECKS: Final[Mapping[str, Callable[[Path, str], object]]] = {
    SBOM: _check_sbom,
    PROVENANCE: provenance_text,
    REPORT: report_text,
}


def place_beside(
    archive: Path, about: Iterable[tuple[str, Path]]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write beside an archive what refers to its image; return the reports and the provenances.

    Nothing that lies there is replaced: a second SBOM gets another name.
    """
    reports, provenances = [], []
    for kind, fetched in about:
        text = fetched.read_bytes()
        if kind == SBOM:
            path = _sbom_beside(archive, text)
        elif kind == PROVENANCE:
            path = another_beside(archive, text)
            provenances.append(path)
        else:
            path = report_beside(archive, text)
            reports.append(path)
        atomic_write(path, text)
    return tuple(reports), tuple(provenances)


def _sbom_beside(archive: Path, text: bytes) -> Path:
    path = archive.with_name(f"{archive.name}.cdx.json")
    try:
        if read_regular(path, most=LISTING.size) == text:
            return path
    except FileNotFoundError:
        return path
    return path.with_name(f"{archive.name}.{hashlib.sha256(text).hexdigest()[:12]}.cdx.json")
