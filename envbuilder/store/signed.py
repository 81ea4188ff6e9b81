"""Signed objects of a remote store: name, content digest, and signatures.

An object is a DSSE envelope of an in-toto statement. Its first subject is the object's own name with the sha256 and
size of its content, so that no object can be passed off as another: neither under another name or kind, nor with
other content. Short content is stored inline; long content is a separate blob named by its sha256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from envbuilder.errors import IntegrityError, VerifyError
from envbuilder.signing.dsse import PAYLOAD_TYPE, parse_envelope
from envbuilder.store.trust import Trust
from envbuilder.util.documents import Cap, DocumentError, Record, parse_json
from envbuilder.util.files import file_sha256

SignedKind = Literal["segments", "manifests", "reports", "provenances", "builds", "aliases"]
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:envbuilder:store-object:v1"
"""Distinguishes store objects from provenance signed by the same key."""
INLINE: Final = ("builds", "aliases")
"""Kinds with inline content: build records and alias moves."""
INLINE_BYTES: Final = 4096
"""Largest inline content in bytes."""
OBJECT: Final = Cap(size=128 * 2**10, containers=1000, depth=8)
"""Largest size of an object: a statement of at most 6 kB, and some signatures."""
LARGEST_BODY: Final = 2**40


class UntrustedError(IntegrityError):
    """An object of a remote store has no trusted signature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """The content of a statement about an object."""

    kind: SignedKind
    name: str
    sha256: str
    """sha256 of the content."""
    size: int
    """Size of the content in bytes."""
    content: bytes | None = None
    """The content, if it is inline."""
    archive_size: int | None = None
    """For a manifest, which is named by its archive's sha256: the size of the archive in bytes."""

    def payload(self) -> bytes:
        """Return the signed text; deterministic."""
        subjects = [_subject(f"{self.kind}/{self.name}", self.sha256, self.size)]
        if self.archive_size is not None:
            subjects.append(_subject(f"archives/{self.name}", self.name, self.archive_size))
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": {} if self.content is None else {"content": self.content.decode()},
        }
        return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()


def state(kind: SignedKind, name: str, body: bytes | Path, *, archive_size: int | None = None) -> Statement:
    """Return the statement of an object with the content *body*, bytes or a file."""
    if isinstance(body, Path):
        return Statement(
            kind=kind,
            name=name,
            sha256=file_sha256(body),
            size=body.stat().st_size,
            archive_size=archive_size,
        )
    return Statement(
        kind=kind,
        name=name,
        sha256=hashlib.sha256(body).hexdigest(),
        size=len(body),
        content=body if kind in INLINE else None,
        archive_size=archive_size,
    )


def open_object(text: bytes, kind: SignedKind, name: str, trust: Trust, *, place: str) -> Statement:
    """Parse and verify the object *text*, stored as *name* of *kind*; *place* names it in errors.

    Raises:
        UntrustedError: it has no trusted signature.
        IntegrityError: it is not a valid object of this name.
        RecipeError: the trusted keys are not usable.
    """
    hint = "remove it from the store and push again"
    try:
        envelope = parse_envelope(text, cap=OBJECT)
    except VerifyError as error:
        raise IntegrityError(f"{place} is not a signed object: {error.message}", hint=hint) from error
    objection = trust.objection(envelope)
    if objection is not None:
        raise UntrustedError(
            f"{place} {objection}",
            hint="store-trust in envbuilder.toml names the trusted keys",
        )
    if envelope.payload_type != PAYLOAD_TYPE:
        raise IntegrityError(
            f"{place}: its payload is {envelope.payload_type}, not {PAYLOAD_TYPE}", hint=hint
        )
    try:
        return _read(envelope.payload, kind, name, place)
    except DocumentError as error:
        raise IntegrityError(error.message, hint=hint) from error


def _subject(name: str, sha256: str, size: int) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}, "annotations": {"size": size}}


def _read(payload: bytes, kind: SignedKind, name: str, place: str) -> Statement:
    document = parse_json(payload, where=place, cap=OBJECT)
    document.choice("_type", STATEMENT_TYPE)
    document.choice("predicateType", PREDICATE_TYPE)
    predicate = document.record("predicate")
    subjects = document.records("subject", most=2)
    if not subjects:
        document.fail("subject", "is empty")
    sha256, size = _read_subject(subjects[0], f"{kind}/{name}")
    archive_size = None
    if kind == "manifests":
        if len(subjects) < 2:
            document.fail("subject", "does not name the archive of the manifest")
        archive, archive_size = _read_subject(subjects[1], f"archives/{name}")
        if archive != name:
            subjects[1].record("digest").fail("sha256", "is another archive's")
    content = None
    if kind in INLINE:
        content = predicate.free_text("content", longest=INLINE_BYTES).encode("utf-8", "replace")
        if (hashlib.sha256(content).hexdigest(), len(content)) != (sha256, size):
            predicate.fail("content", "does not match its sha256")
    return Statement(
        kind=kind, name=name, sha256=sha256, size=size, content=content, archive_size=archive_size
    )


def _read_subject(subject: Record, name: str) -> tuple[str, int]:
    """Return sha256 and size of a subject, which must have the name *name*."""
    found = subject.text("name", longest=500)
    if found != name:
        subject.fail("name", f"is {found}: it was signed under that name, but stored as {name}")
    size = subject.record("annotations").integer("size", most=LARGEST_BODY)
    return subject.record("digest").digest("sha256"), size
