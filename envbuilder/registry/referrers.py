"""What refers to an image: SBOM, provenances, reports, each an artifact whose ``subject`` is the image.

OCI 1.1 has registries list them; where one cannot, an index under a tag that the digest gives does (distribution
specification, *Referrers Tag Schema*). Registries have no conditional writes: of two who write that index at the same
moment, one may undo the other's entry. Each looks again after every write, and :func:`keep_listed` once more at the end
of a push; what is undone after that is listed again by the next push.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry.documents import (
    EMPTY,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    describe,
    digest_of,
    parse_manifest,
)
from envbuilder.registry.repository import Repository

_EMPTY: Final = b"{}"
_TRIES: Final = 5


class ForeignReferrerError(IntegrityError):
    """What refers to an image is not a document about it, as this tool attaches one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Referrer:
    """A document about an image."""

    descriptor: Descriptor
    """Of its manifest."""
    artifact_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def attach(
    repository: Repository,
    subject: Descriptor,
    data: bytes,
    media_type: str,
    *,
    annotations: Mapping[str, str],
) -> tuple[Descriptor, bool]:
    """Put a document about *subject* beside it; return the descriptor of its manifest, and whether it was not there.

    Raises:
        StoreError: it cannot be written.
        IntegrityError: what the registry lists is damaged, or another listing is written at the same time each time.
    """
    empty, body = describe(_EMPTY, EMPTY), describe(data, media_type)
    manifest = Manifest(
        config=empty,
        layers=(body,),
        subject=subject,
        artifact_type=media_type,
        annotations=annotations,
    ).text()
    described = describe(manifest, MANIFEST, artifact_type=media_type, annotations=annotations)
    if any(one.descriptor.digest == described.digest for one in referrers(repository, subject.digest)):
        return described, False
    for one, content in ((empty, _EMPTY), (body, data)):
        if not repository.holds(one.digest):
            repository.upload(one, reading(content))
    answer = repository.put_manifest(manifest, MANIFEST)
    if "OCI-Subject" not in answer.headers:
        _list_by_tag(repository, subject.digest, (described,))
    return described, True


def keep_listed(repository: Repository, digest: str, described: Sequence[Descriptor]) -> None:
    """List again what was attached to the manifest *digest*, where another process has undone that meanwhile.

    Raises:
        StoreError: the registry does not answer, or refuses.
        IntegrityError: what the registry lists is damaged.
    """
    listed = {one.descriptor.digest for one in referrers(repository, digest)}
    undone = tuple(one for one in described if one.digest not in listed)
    if undone:
        _list_by_tag(repository, digest, undone)


def reading(content: bytes) -> Callable[[int, int], bytes]:
    """Return what gives bytes of *content* by offset and count."""
    return lambda offset, count: content[offset : offset + count]


def referrers(repository: Repository, digest: str, artifact_type: str | None = None) -> list[Referrer]:
    """List what refers to the manifest *digest*, of one type or of all.

    Raises:
        StoreError: the registry does not answer, or refuses.
        IntegrityError: what it lists is not an index.
    """
    listed: list[Descriptor] = []
    for page in repository.pages(f"referrers/{digest}"):
        index = parse_manifest(page, where=f"{repository.place}: referrers")
        if isinstance(index, Index):
            listed += index.manifests
    listed += _by_tag(repository, digest)
    unique = {one.digest: one for one in listed}
    return [
        Referrer(descriptor=one, artifact_type=one.artifact_type or "", annotations=one.annotations)
        for one in unique.values()
        if artifact_type is None or one.artifact_type == artifact_type
    ]


def read_referrer(repository: Repository, referrer: Referrer, subject: str, most: int) -> bytes:
    """Return the document of a referrer of the manifest *subject*.

    Raises:
        StoreError: it is not there.
        ForeignReferrerError: it is not one document, larger than *most*, or about something else.
        IntegrityError: it is not what its digest says.
    """
    where = f"{repository.place}: {referrer.descriptor.digest[:19]}"
    found = repository.manifest(referrer.descriptor.digest)
    if found is None:
        raise StoreError(f"{repository.place} lists {referrer.descriptor.digest[:19]} but does not have it")
    manifest = parse_manifest(found[1], where=where)
    if not isinstance(manifest, Manifest) or len(manifest.layers) != 1 or manifest.layers[0].size > most:
        raise ForeignReferrerError(f"{where} is not a single document")
    if manifest.subject is None or manifest.subject.digest != subject:
        raise ForeignReferrerError(f"{where} does not refer to {subject[:19]}")
    return b"".join(repository.read(manifest.layers[0]))


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def _by_tag(repository: Repository, digest: str) -> tuple[Descriptor, ...]:
    found = repository.manifest(_tag(digest))
    if found is None:
        return ()
    index = parse_manifest(found[1], where=f"{repository.place}:{_tag(digest)}")
    return index.manifests if isinstance(index, Index) else ()


def _list_by_tag(repository: Repository, digest: str, described: Sequence[Descriptor]) -> None:
    """Add to the index under the subject's tag; of two who do that at once, the second sees it and does it again."""
    for _ in range(_TRIES):
        there = {one.digest: one for one in _by_tag(repository, digest)}
        both = {**there, **{one.digest: one for one in described if one.digest not in there}}
        if len(both) == len(there):
            return
        text = Index(manifests=tuple(both[one] for one in sorted(both))).text()
        repository.put_manifest(text, INDEX, _tag(digest))
        after = repository.manifest(_tag(digest))
        if after is not None and after[0].digest == digest_of(text):
            return
    raise StoreError(
        f"{repository.place}:{_tag(digest)} is being written by another process", hint="push again"
    )
