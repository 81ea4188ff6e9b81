"""Documents of the OCI image specification 1.1: descriptors, manifests, indexes, read under caps."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from envbuilder.errors import IntegrityError
from envbuilder.util.documents import Cap, DocumentError, Grammar, Record, parse_json

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
LAYERS: Final = (LAYER_GZIP, LAYER_TAR, DOCKER_LAYER)
"""Media types of layers that are read: what registries and tools make of an image of gzip or plain tars."""
MANIFESTS: Final = (MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (INDEX, DOCKER_INDEX)
REF_NAME: Final = "org.opencontainers.image.ref.name"

LONGEST: Final = Cap(size=4 * 2**20, containers=20_000, values=200_000)
"""Of a manifest: the limit that the distribution specification has registries accept is 4 MiB."""
MOST_BLOB: Final = 2**40
_DIGEST: Final = Grammar(pattern=re.compile(r"sha256:[0-9a-f]{64}"), expected="sha256: and 64 hex digits")
_MEDIA_TYPE: Final = Grammar(
    pattern=re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"),
    expected="a media type",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """What an image runs on, in Go's words."""

    os: str
    architecture: str

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A reference to content by its digest."""

    media_type: str
    digest: str
    """``sha256:…``"""
    size: int
    """Bytes."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str | None = None

    @property
    def sha256(self) -> str:
        """The digest without its algorithm."""
        return self.digest.removeprefix("sha256:")

    def json(self) -> dict[str, Any]:
        """Return it as a document has it."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type is not None:
            found["artifactType"] = self.artifact_type
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            found["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The manifest of an image, or of an artifact."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None
    artifact_type: str | None = None
    media_type: str = MANIFEST

    def text(self) -> bytes:
        """Return its bytes: the same for the same manifest."""
        found: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.json(),
            "layers": [layer.json() for layer in self.layers],
        }
        if self.artifact_type is not None:
            found["artifactType"] = self.artifact_type
        if self.subject is not None:
            found["subject"] = self.subject.json()
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return canonical(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """An index: the manifests of several images, one for each platform, or of artifacts."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = INDEX

    def text(self) -> bytes:
        """Return its bytes."""
        found: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [one.json() for one in self.manifests],
        }
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        return canonical(found)


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return a document's bytes: sorted keys, no white space, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(data: bytes) -> str:
    """Return the digest of *data*: ``sha256:…``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(data: bytes, media_type: str, **more: Any) -> Descriptor:
    """Return the descriptor of *data*."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data), **more)


def parse_manifest(data: bytes, *, where: str) -> Manifest | Index:
    """Read a manifest or an index; *where* names it in errors.

    Raises:
        IntegrityError: it is neither, of another media type, or larger than registries take.
    """
    try:
        found = parse_json(data, where=where, cap=LONGEST)
        if found.integer("schemaVersion", most=100) != 2:
            raise IntegrityError(
                f"{where}: schemaVersion {found.integer('schemaVersion')}: images have 2",
                hint="push the image again with a tool that writes OCI images",
            )
        kind = found.text("mediaType", _MEDIA_TYPE) if "mediaType" in found else _guess(found)
        other = "manifests" if kind in MANIFESTS else "layers" if kind in INDEXES else None
        if other is not None and other in found:  # to another tool it would be something else: CVE-2021-41190
            raise IntegrityError(
                f"{where} is ambiguous: {kind} has no `{other}`",
                hint="push the image again with a tool that writes OCI images",
            )
        if kind in INDEXES:
            manifests = tuple(_descriptor(one) for one in found.records("manifests", most=1000))
            return Index(manifests=manifests, annotations=_annotations(found), media_type=kind)
        if kind in MANIFESTS:
            return _manifest(found, kind)
    except DocumentError as error:
        raise IntegrityError(f"{error.message}", hint=error.hint or "push the image again") from error
    raise IntegrityError(
        f"{where}: its media type is {kind}, which is neither an image's manifest nor an index",
        hint=f"images have {MANIFEST}",
    )


def _guess(found: Record) -> str:
    return INDEX if "manifests" in found else MANIFEST


def _manifest(found: Record, kind: str) -> Manifest:
    subject = _descriptor(found.record("subject")) if "subject" in found else None
    return Manifest(
        config=_descriptor(found.record("config")),
        layers=tuple(_descriptor(one) for one in found.records("layers", most=10_000)),
        annotations=_annotations(found),
        subject=subject,
        artifact_type=found.text("artifactType", _MEDIA_TYPE) if "artifactType" in found else None,
        media_type=kind,
    )


def _descriptor(found: Record) -> Descriptor:
    platform = None
    if "platform" in found:
        one = found.record("platform")
        platform = Platform(
            os=one.text("os", longest=100), architecture=one.text("architecture", longest=100)
        )
    return Descriptor(
        media_type=found.text("mediaType", _MEDIA_TYPE),
        digest=found.text("digest", _DIGEST),
        size=found.integer("size", most=MOST_BLOB),
        annotations=_annotations(found),
        platform=platform,
        artifact_type=found.text("artifactType", _MEDIA_TYPE) if "artifactType" in found else None,
    )


def _annotations(found: Record) -> dict[str, str]:
    if "annotations" not in found:
        return {}
    inner = found.record("annotations")
    return {key: inner.free_text(key, longest=2**20) for key in inner.value}
