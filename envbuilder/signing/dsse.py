"""Signed envelopes: DSSE (https://github.com/secure-systems-lab/dsse), also in a Sigstore bundle."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from envbuilder.errors import VerifyError
from envbuilder.signing.certificates import (
    LONGEST_CHAIN,
    certified_by,
    identities,
    parse_certificates,
    parse_der_certificates,
    signer_name,
)
from envbuilder.signing.keys import KEY_BYTES, is_signed_by, keyid, sign
from envbuilder.signing.timestamps import MOST_TIMESTAMPS, TIMESTAMP_BYTES, Stamp, signing_time
from envbuilder.signing.verifier import Verifier
from envbuilder.util import clock
from envbuilder.util.documents import DOCUMENT, Cap, DocumentError, Record, parse_json
from envbuilder.util.printable import printable_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MOST_SIGNATURES: Final = 32
"""Largest number of signatures in one envelope; each costs a verification."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """One signature of an envelope."""

    keyid: str
    """The signer's name for its key: a hint that is not trusted. May be empty."""
    signature: bytes
    certificates: str | tuple[bytes, ...] = ""
    """The certificates of the signer and its issuers, PEM or (in a bundle) DER; may be empty."""
    timestamps: tuple[bytes, ...] = ()
    """Timestamps of the signature (RFC 3161)."""

    def to_json(self) -> dict[str, Any]:
        """Return it as an entry of an envelope."""
        found: dict[str, Any] = {"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}
        if self.timestamps:
            encoded = [base64.b64encode(one).decode() for one in self.timestamps]
            found["rfc3161Timestamps"] = [{"signedTimestamp": one} for one in encoded]
        if isinstance(self.certificates, str) and self.certificates:
            found["certificate"] = self.certificates
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A payload and the signatures it claims."""

    payload: bytes
    payload_type: str = PAYLOAD_TYPE
    signatures: tuple[Signature, ...] = ()

    def signed(self) -> bytes:
        """Return the signed bytes: DSSE's pre-authentication encoding."""
        name = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(name), name, len(self.payload), self.payload)

    def sign(self, key: Any, certificates: str = "", stamp: Stamp | None = None) -> Envelope:
        """Return a copy with one more signature, by the private *key*, with its *certificates* (PEM).

        *stamp* requests a timestamp of the signature.
        """
        signature = sign(key, self.signed())
        made = Signature(
            keyid=keyid(key.public_key()),
            signature=signature,
            certificates=certificates,
            timestamps=() if stamp is None else (stamp(signature),),
        )
        others = tuple(one for one in self.signatures if one.keyid != made.keyid)
        return Envelope(payload=self.payload, payload_type=self.payload_type, signatures=(*others, made))

    def text(self) -> str:
        """Return the envelope as JSON."""
        envelope = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [one.to_json() for one in self.signatures],
        }
        return json.dumps(envelope, indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """The verified signer."""

    name: str
    """The name in the certificate, or for a bare key its file and the start of its id."""
    authority: str | None = None
    """The authority that certified the name; None if the key itself is trusted."""

    def __str__(self) -> str:
        return self.name if self.authority is None else f"{self.name}, certified by {self.authority}"


def parse_envelope(text: str | bytes, *, cap: Cap = DOCUMENT) -> Envelope:
    """Parse an envelope, or the one in a Sigstore bundle. Nothing is verified.

    Raises:
        VerifyError: it is invalid.
    """
    try:
        document = parse_json(text, where="envelope", cap=cap)
        bundled = "dsseEnvelope" in document
        envelope = document.record("dsseEnvelope") if bundled else document
        found = envelope.records("signatures", most=MOST_SIGNATURES)
        chain = _bundled_certificates(document) if bundled else ()
        stamps = _bundled_timestamps(document) if bundled else ()
        return Envelope(
            payload=_base64(envelope, "payload", cap.size),
            payload_type=envelope.text("payloadType", longest=200),
            signatures=tuple(_signature(one, chain, stamps) for one in found),
        )
    except DocumentError as error:
        what = f"{error.path}: {error.reason}" if error.path else error.reason
        raise VerifyError(f"it is not a DSSE envelope of a statement: {what}") from error


def _signature(found: Record, chain: tuple[bytes, ...], stamps: tuple[bytes, ...]) -> Signature:
    own = found.free_text("certificate", longest=KEY_BYTES) if "certificate" in found else ""
    name = found.free_text("keyid", longest=1000) if "keyid" in found else ""
    return Signature(
        keyid=name,
        signature=_base64(found, "sig", KEY_BYTES),
        certificates=own or chain or "",
        timestamps=_timestamps(found) or stamps,
    )


def _bundled_certificates(bundle: Record) -> tuple[bytes, ...]:
    """Return the certificate chain of a bundle: ``certificate``; in older bundles ``x509CertificateChain``."""
    if "verificationMaterial" not in bundle:
        return ()
    material = bundle.record("verificationMaterial")
    if "certificate" in material:
        return (_base64(material.record("certificate"), "rawBytes", KEY_BYTES),)
    if "x509CertificateChain" not in material:
        return ()
    chain = material.record("x509CertificateChain").records("certificates", most=LONGEST_CHAIN)
    return tuple(_base64(one, "rawBytes", KEY_BYTES) for one in chain)


def _bundled_timestamps(bundle: Record) -> tuple[bytes, ...]:
    """Return the timestamps in a bundle."""
    if "verificationMaterial" not in bundle:
        return ()
    material = bundle.record("verificationMaterial")
    if "timestampVerificationData" not in material:
        return ()
    return _timestamps(material.record("timestampVerificationData"))


def _timestamps(holder: Record) -> tuple[bytes, ...]:
    if "rfc3161Timestamps" not in holder:
        return ()
    found = holder.records("rfc3161Timestamps", most=MOST_TIMESTAMPS)
    return tuple(_base64(one, "signedTimestamp", 2 * TIMESTAMP_BYTES) for one in found)


def _base64(record: Record, key: str, longest: int) -> bytes:
    text = record.free_text(key, longest=longest)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)  # DSSE allows either
    except (ValueError, binascii.Error) as error:
        record.fail(key, f"is not base64: {error}")


# -- who signed ------------------------------------------------------------------------------------


def check_envelope(envelope: Envelope, trusted: Verifier, *, at: datetime.datetime | None = None) -> Signer:
    """Return the signer of an envelope, if it is *trusted* or certified by it; one valid signature is enough.

    Certificates must be valid at the time *at*. By default that is the time of signing, if a timestamp from an
    authority that *trusted* accepts proves it. Without such a timestamp anyone who has the key could claim any time, so
    the certificates must be valid now.

    Raises:
        VerifyError: no signature is valid; the message gives the reason for each.
    """
    data = envelope.signed()
    refused: list[VerifyError] = []
    for one in envelope.signatures:
        try:
            return _signer(one, data, trusted, at)
        except VerifyError as error:
            refused.append(error)
    if not refused:
        raise VerifyError(f"it is not signed; expected a signature by {_named(trusted)}")
    if len(refused) == 1:
        raise refused[0]
    listed = "; ".join(f"{number}. {error.message}" for number, error in enumerate(refused, 1))
    raise VerifyError(
        f"none of its {len(refused)} signatures is valid: {listed}",
        hint=next((error.hint for error in refused if error.hint), None),
    )


def _check_certified(
    one: Signature, chain: Sequence[Certificate], trusted: Verifier, at: datetime.datetime | None
) -> None:
    """Check the signer's certificate at the time of signing if a timestamp proves it, else now."""
    assert trusted.certificate is not None
    unproved = ""
    if at is None and trusted.timestamp_authorities:
        try:
            at = signing_time(one.timestamps, one.signature, trusted.timestamp_authorities)
        except VerifyError as error:
            unproved = f" ({error.message})"
    try:
        certified_by(chain, trusted.certificate, at or clock.now())
    except VerifyError as error:
        raise VerifyError(error.message + unproved, hint=error.hint) from error


def _signer(one: Signature, data: bytes, trusted: Verifier, at: datetime.datetime | None) -> Signer:
    if trusted.certificate is None:
        if is_signed_by(trusted.key, one.signature, data):
            return Signer(name=_named(trusted))
        raise _not_by(one, trusted)
    if is_signed_by(trusted.key, one.signature, data):
        chain: Sequence[Certificate] = (trusted.certificate,)
    elif not one.certificates:
        raise _not_by(one, trusted)
    elif isinstance(one.certificates, str):
        chain = parse_certificates(one.certificates)
    else:
        chain = parse_der_certificates(one.certificates)
    _check_certified(one, chain, trusted, at)
    name = signer_name(chain[0])
    if not is_signed_by(chain[0].public_key(), one.signature, data):
        raise VerifyError(f"it was changed after {name} signed it, or another key signed it")
    if trusted.identity is not None and trusted.identity not in identities(chain[0]):
        raise VerifyError(f"it was signed by {name}, not by {trusted.identity}")
    itself = chain[0] == trusted.certificate
    return Signer(name=name, authority=None if itself else signer_name(trusted.certificate))


def _not_by(one: Signature, trusted: Verifier) -> VerifyError:
    if one.keyid == trusted.keyid:
        return VerifyError(f"it was changed after {trusted.path} signed it")
    name = printable_line(one.keyid[:12]) or "a key without a name"
    return VerifyError(f"it was signed by {name}, not by {_named(trusted)}")


def _named(trusted: Verifier) -> str:
    return f"{trusted.path} ({trusted.keyid[:12]})"
