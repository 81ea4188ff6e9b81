"""The provenance of an archive, a file beside it: a signed statement, in-toto in DSSE (:mod:`envbuilder.signing`)."""

from __future__ import annotations

import glob
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuilder.errors import VerifyError
from envbuilder.signing.dsse import PAYLOAD_TYPE, Envelope, Signer, check_envelope, parse_envelope
from envbuilder.signing.timestamps import Stamp
from envbuilder.signing.verifier import Verifier
from envbuilder.util.documents import DocumentError, Record, parse_json


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedStatement:
    """A statement whose signature was verified."""

    statement: Record
    signer: Signer


def provenance_beside(archive: Path) -> Path:
    """Return where the provenance of *archive* lies: ``NAME-DIGEST.provenance.json``."""
    name = archive.name.removesuffix(".gz").removesuffix(".tar")
    return archive.with_name(f"{name}.provenance.json")


def provenances_beside(archive: Path) -> list[Path]:
    """List the provenances of *archive* that are there: the one, and others, ``NAME-DIGEST.provenance-….json``."""
    first = provenance_beside(archive)
    others = sorted(first.parent.glob(f"{glob.escape(first.stem)}-*{first.suffix}"))
    return [path for path in (first, *others) if path.is_file()]


def another_beside(archive: Path, text: bytes) -> Path:
    """Return where a provenance with this text goes: to its usual place, or beside one that is there already."""
    path = provenance_beside(archive)
    try:
        if path.read_bytes() == text:
            return path
    except FileNotFoundError:
        return path
    return path.with_name(f"{path.stem}-{hashlib.sha256(text).hexdigest()[:12]}{path.suffix}")


def statement_beside(archive: Path) -> Path:
    """Return where the statement of *archive* lies that cosign is to sign: ``NAME-DIGEST.statement.json``."""
    name = archive.name.removesuffix(".gz").removesuffix(".tar")
    return archive.with_name(f"{name}.statement.json")


def seal(payload: str, key: Any, certificates: str = "", stamp: Stamp | None = None) -> str:
    """Return the envelope of a statement's text, signed by the private *key*; *certificates* (PEM) go with it.

    *stamp* has somebody else say when that was.
    """
    return Envelope(payload=payload.encode()).sign(key, certificates, stamp).text()


def subjects(text: bytes) -> set[str]:
    """Return the sha256 of each archive that the statement in an envelope is said to be of; nothing is verified.

    Raises:
        VerifyError: it is no envelope of a statement.
    """
    statement = _statement(parse_envelope(text))
    try:
        return {one.record("digest").digest("sha256") for one in statement.records("subject")}
    except DocumentError as error:
        raise VerifyError(f"its statement: {error.path}: {error.reason}") from error


def open_envelope(text: str | bytes, trusted: Verifier) -> SignedStatement:
    """Return the statement in an envelope that *trusted* signed, or that somebody signed whom it certifies.

    Raises:
        VerifyError: it is no envelope; nobody that counts signed it, or it was changed since.
    """
    envelope = parse_envelope(text)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise VerifyError(f"its payload is {envelope.payload_type!r}, not {PAYLOAD_TYPE}")
    signer = check_envelope(envelope, trusted)
    return SignedStatement(statement=_statement(envelope), signer=signer)


def _statement(envelope: Envelope) -> Record:
    try:
        return parse_json(envelope.payload, where="statement")
    except DocumentError as error:
        what = f"{error.path}: {error.reason}" if error.path else error.reason
        raise VerifyError(f"its statement: {what}") from error
