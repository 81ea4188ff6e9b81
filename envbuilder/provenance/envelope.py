"""The envelope of a signed statement: DSSE (https://github.com/secure-systems-lab/dsse), also in a Sigstore bundle."""

from __future__ import annotations

import base64
import binascii
import glob
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import VerifyError
from envbuilder.provenance.keys import Verifier, certified_key, invalid_now, is_signed_by, keyid, sign

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


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


def seal(payload: str, key: Any, certificate: str | None = None) -> str:
    """Return the envelope of a statement's text, signed by the private *key*; *certificate* (PEM) goes with it."""
    data = payload.encode()
    signature = {
        "keyid": keyid(key.public_key()),
        "sig": base64.b64encode(sign(key, _to_sign(PAYLOAD_TYPE, data))).decode(),
    }
    if certificate is not None:
        signature["certificate"] = certificate
    envelope = {
        "payload": base64.b64encode(data).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [signature],
    }
    return json.dumps(envelope, indent=1, sort_keys=True) + "\n"


def subjects(text: bytes) -> set[str]:
    """Return the sha256 of each archive that the statement in an envelope is said to be of; nobody's word is taken.

    Raises:
        VerifyError: it is no envelope of a statement.
    """
    try:
        envelope = json.loads(text)
        payload = base64.b64decode(envelope.get("dsseEnvelope", envelope)["payload"], validate=True)
        return {str(one["digest"]["sha256"]) for one in json.loads(payload)["subject"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise VerifyError(f"it is no envelope of a statement (DSSE): {error}") from error


def open_envelope(text: str | bytes, trusted: Verifier) -> dict[str, Any]:
    """Return the statement in an envelope that *trusted* signed, or that somebody signed whom it certifies.

    Raises:
        VerifyError: it is no envelope; another key signed it; it was changed since; a certificate is not valid now.
    """
    try:
        envelope = json.loads(text)
        envelope = envelope.get("dsseEnvelope", envelope)
        kind, signatures = envelope["payloadType"], envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = [
            (base64.b64decode(one["sig"], validate=True), str(one.get("keyid") or ""), one.get("certificate"))
            for one in signatures
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise VerifyError(f"it is no envelope of a statement (DSSE): {error}") from error
    if kind != PAYLOAD_TYPE:
        raise VerifyError(f"its payload is {kind!r}, not {PAYLOAD_TYPE}")
    if trusted.certificate is not None:
        problem = invalid_now(trusted.certificate)
        if problem is not None:
            raise VerifyError(problem)
    data = _to_sign(kind, payload)
    if not any(_signs(signature, certificate, data, trusted) for signature, _, certificate in signed):
        if trusted.keyid in (name for _, name, _ in signed):
            raise VerifyError(f"it was changed after {trusted.path} signed it")
        names = ", ".join(name[:12] or "a key without a name" for _, name, _ in signed) or "nobody"
        raise VerifyError(f"it was signed by {names}, not by {trusted.path} ({trusted.keyid[:12]})")
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise VerifyError(f"its statement is no JSON: {error}") from error
    if not isinstance(statement, dict):
        raise VerifyError("its statement is no object")
    return statement


def _signs(signature: bytes, certificate: object, data: bytes, trusted: Verifier) -> bool:
    if is_signed_by(trusted.key, signature, data):
        return True
    if trusted.certificate is None or not isinstance(certificate, str):
        return False
    return is_signed_by(certified_key(certificate, trusted), signature, data)


def _to_sign(kind: str, payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)
