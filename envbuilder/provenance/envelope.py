"""The provenance of an archive, a file next to it: a signed in-toto statement in DSSE (:mod:`envbuilder.signing`)."""

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
from envbuilder.util.files import NotRegularError, has_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedStatement:
    """A statement whose signature was verified."""

    statement: Record
    signer: Signer


def provenance_beside(archive: Path) -> Path:
    """Return the path of the provenance of *archive*: ``NAME-DIGEST.provenance.json``."""
    name = archive.name.removesuffix(".gz").removesuffix(".tar")
    return archive.with_name(f"{name}.provenance.json")


def provenances_beside(archive: Path) -> list[Path]:
    """List the existing provenance files of *archive*: the main one, and any ``NAME-DIGEST.provenance-….json``."""
    first = provenance_beside(archive)
    others = sorted(first.parent.glob(f"{glob.escape(first.stem)}-*{first.suffix}"))
    return [path for path in (first, *others) if path.is_file()]


def another_beside(archive: Path, text: bytes) -> Path:
    """Return the path for a provenance with this text: the usual one, or another if that has different content."""
    path = provenance_beside(archive)
    try:
        if has_bytes(path, text):
            return path
    except FileNotFoundError:
        return path
    except NotRegularError:  # something of the user's is called so
        pass
    return path.with_name(f"{path.stem}-{hashlib.sha256(text).hexdigest()[:12]}{path.suffix}")


def statement_beside(archive: Path) -> Path:
    """Return the path of the statement of *archive* for cosign to sign: ``NAME-DIGEST.statement.json``."""
    name = archive.name.removesuffix(".gz").removesuffix(".tar")
    return archive.with_name(f"{name}.statement.json")


def sign_statement(payload: str, key: Any, certificates: str = "", stamp: Stamp | None = None) -> str:
    """Return the envelope of a statement's text, signed by the private *key*, with *certificates* (PEM).

    *stamp* requests a timestamp of the signature.
    """
    return Envelope(payload=payload.encode()).sign(key, certificates, stamp).text()


def subjects(text: bytes) -> set[str]:
    """Return the sha256 of each subject that the statement in an envelope claims; nothing is verified.

    Raises:
        VerifyError: it is not an envelope of a statement.
    """
    statement = _statement(parse_envelope(text))
    try:
        return {one.record("digest").digest("sha256") for one in statement.records("subject")}
    except DocumentError as error:
        raise VerifyError(f"the statement is not valid: {error.path}: {error.reason}") from error


def open_envelope(text: str | bytes, trusted: Verifier) -> SignedStatement:
    """Return the statement in an envelope signed by *trusted*, or by a signer whom it certified.

    Raises:
        VerifyError: it is not an envelope, has no trusted signature, or was modified after signing.
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
