"""Envelopes, signatures and names of who signed a provenance, as ``verify`` meets them."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from envbuilder.signing.keys import keyid
from tests.helpers.authority import DAY, NOW
from tests.helpers.hostile import Room, refused
from tests.helpers.hostile_signers import NONE, SIGNED, Case, Signers, certified, check_told


def with_certificate(value: object) -> Callable[[Signers], object]:
    """Put *value* in the place of the certificate."""

    def arrange(signers: Signers) -> None:
        certified()(signers)
        signers.edit(lambda envelope: envelope["signatures"][0].update(certificate=value))

    return arrange


def several(*order: str) -> Callable[[Signers], object]:
    """Several sign: ``good``, ``expired``, ``mail`` (of another purpose), ``stranger``, ``bare`` (no certificate)."""

    def arrange(signers: Signers) -> None:
        signers.certify("good", "authority")
        signers.certify("expired", "authority", begins=NOW - 2 * DAY, ends=NOW - DAY)
        mail = x509.ExtendedKeyUsage([Purpose.EMAIL_PROTECTION])
        signers.certify("mail", "authority", extensions=[(mail, False)])
        signers.certify("stranger")
        signers.attest(*((name, "" if name == "bare" else signers.pem(name)) for name in order))

    return arrange


def named(*names: x509.GeneralName, subject: str = "signer") -> Callable[[Signers], object]:
    """Let the signer's certificate have these alternative names."""
    beside = x509.SubjectAlternativeName(names) if names else None
    return certified(subject=subject, extensions=[(beside, False)] if beside else [])


def noise(text: bytes) -> Callable[[Signers], object]:
    """Put anything in the place of the provenance."""
    return lambda signers: signers.provenance.write_bytes(text)


def changed(**fields: Any) -> Callable[[Signers], object]:
    """Change fields of an envelope that was right."""

    def arrange(signers: Signers) -> None:
        certified()(signers)
        signers.edit(lambda envelope: envelope.update(fields))

    return arrange


def signature(**fields: Any) -> Callable[[Signers], object]:
    """Change fields of its signature."""

    def arrange(signers: Signers) -> None:
        certified()(signers)
        signers.edit(lambda envelope: envelope["signatures"][0].update(fields))

    return arrange


def bundled(material: object) -> Callable[[Signers], object]:
    """Make it a Sigstore bundle with this verification material."""

    def arrange(signers: Signers) -> None:
        certified()(signers)
        found = json.loads(signers.provenance.read_text())
        del found["signatures"][0]["certificate"]
        bundle = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": found}
        signers.provenance.write_text(json.dumps(bundle | {"verificationMaterial": material}))

    return arrange


def as_the_authority(signers: Signers) -> None:
    """Call the signer's key as the trusted one."""
    certified()(signers)
    name = keyid(signers.key("authority").public_key())
    signers.edit(lambda envelope: envelope["signatures"][0].update(keyid=name, certificate=None))


def right_bundle(signers: Signers) -> None:
    """A Sigstore bundle whose chain goes through an authority between."""
    signers.certify("middle", "authority", authority=True)
    signers.certify("signer", "middle")
    signers.attest(("signer", ""))
    chain = [x509.load_pem_x509_certificate(signers.pem(name).encode()) for name in ("signer", "middle")]
    ders = [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain]
    found = json.loads(signers.provenance.read_text())
    material = {"x509CertificateChain": {"certificates": [{"rawBytes": one} for one in ders]}}
    bundle = {"mediaType": "x", "dsseEnvelope": found, "verificationMaterial": material}
    signers.provenance.write_text(json.dumps(bundle))


ESCAPED = r"\\(u00|x)1b"
TEXTS = [
    Case(name="empty-certificate", arrange=with_certificate("x"), found="the certificate cannot be read: .*"),
    Case(
        name="number",
        arrange=with_certificate(7),
        found=NONE + r"signatures\[0\]\.certificate: expected a text, .*",
    ),
    Case(
        name="list",
        arrange=with_certificate([]),
        found=NONE + r"signatures\[0\]\.certificate: expected a text, .*",
    ),
    Case(
        name="long", arrange=with_certificate("x" * 10**6), found=NONE + r"signatures\[0\]\.certificate: .*"
    ),
    Case(
        name="noise",
        arrange=with_certificate("-----BEGIN CERTIFICATE-----\nMIIB\x1b[2J\n-----END CERTIFICATE-----\n"),
        found="the certificate cannot be read: .*",
    ),
    Case(
        name="cut",
        arrange=with_certificate(
            f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(bytes(range(64))).decode()}\n-----END CERTIFICATE-----\n"
        ),
        found="the certificate cannot be read: .*",
    ),
    Case(
        name="surrogate",
        whole=True,
        arrange=with_certificate("\udcff"),
        found="the certificate cannot be read: .*",
    ),
    Case(
        name="escape-codes",
        whole=True,
        arrange=named(subject="\x1b[2J\u202etxt"),
        found=rf"is signed by .*{ESCAPED}.*2J.*, certified by CN=authority",
        good=True,
    ),
    Case(name="newlines", arrange=named(subject="a\nb"), found="is signed by .*a.*b.*", good=True),
    Case(
        name="a-name-beside",
        arrange=named(x509.RFC822Name("ci@example.org"), subject=""),
        found="is signed by ci@example.org, certified by CN=authority",
        good=True,
    ),
    Case(
        name="no-name-at-all",
        arrange=named(subject=""),
        found="is signed by nobody, certified by CN=authority",
        good=True,
    ),
    Case(name="no-json", arrange=noise(b"\x1b[31m{"), found=NONE + "is not JSON: .*"),
    Case(name="nothing", arrange=noise(b""), found=NONE + "is not JSON: .*"),
    Case(name="deep", whole=True, arrange=noise(b"[" * 10**6), found=NONE + ".*(nested|deep|more than).*"),
    Case(name="zeros", whole=True, arrange=noise(bytes(10**6)), found=NONE + ".*"),
    Case(
        name="huge", whole=True, arrange=noise(b" " * (17 * 2**20)), found=NONE + "is larger than 16.8 MB.*"
    ),
    Case(name="array", arrange=noise(b"[]"), found=NONE + "expected an object, found an empty list"),
    Case(name="bundle-of-nothing", arrange=noise(b'{"dsseEnvelope": 5}'), found=NONE + "dsseEnvelope: .*"),
    Case(name="payload", arrange=changed(payload={}), found=NONE + "payload: expected a text.*"),
    Case(name="type", arrange=changed(payloadType="\x1b[2J"), found=NONE + "payloadType: .*"),
    Case(
        name="other-type",
        arrange=changed(payloadType="text/plain"),
        found=r"its payload is 'text/plain', not application/vnd\.in-toto\+json",
    ),
    Case(name="signatures", arrange=changed(signatures={}), found=NONE + "signatures: expected a list.*"),
    Case(
        name="no-signatures",
        arrange=changed(signatures=[]),
        found="it is not signed; expected a signature by .*",
    ),
    Case(
        name="many",
        whole=True,
        arrange=changed(signatures=[{}] * 1000),
        found=NONE + "signatures: expected at most 32 items.*",
    ),
    Case(name="sig", arrange=signature(sig=17), found=NONE + r"signatures\[0\]\.sig: expected a text.*"),
    Case(name="sig-empty", arrange=signature(sig=""), found="it was changed after CN=signer signed it, .*"),
    Case(name="sig-long", arrange=signature(sig="AAAA" * 10**5), found=NONE + r"signatures\[0\]\.sig: .*"),
    Case(
        name="keyid-escape",
        arrange=signature(keyid="\x1b[2J", certificate=None),
        found=rf"it was signed by {ESCAPED}\[2J, not by authority\.crt .*",
    ),
    Case(
        name="keyid-of-the-authority",
        arrange=as_the_authority,
        found=r"it was changed after authority\.crt signed it",
    ),
    Case(name="bundle", arrange=right_bundle, found=SIGNED, good=True),
    Case(name="material", arrange=bundled([]), found=NONE + "verificationMaterial: expected an object.*"),
    Case(
        name="material-raw",
        arrange=bundled({"certificate": {"rawBytes": "%%"}}),
        found=NONE + r"verificationMaterial\.certificate\.rawBytes: is not base64: .*",
    ),
    Case(
        name="material-noise",
        arrange=bundled({"certificate": {"rawBytes": "AAAA"}}),
        found="the certificate cannot be read: .*",
    ),
    Case(
        name="material-many",
        arrange=bundled({"x509CertificateChain": {"certificates": [{}] * 99}}),
        found=NONE + r"verificationMaterial\.x509CertificateChain\.certificates: expected at most 8 items.*",
    ),
    Case(
        name="timestamps",
        arrange=signature(rfc3161Timestamps=7),
        found=NONE + r"signatures\[0\]\.rfc3161T.*",
    ),
]
GOOD = r"is signed by CN=good, certified by CN=authority"
MIXED = [
    Case(
        name="good-last",
        whole=True,
        arrange=several("stranger", "expired", "mail", "bare", "good"),
        found=GOOD,
        good=True,
    ),
    Case(name="good-first", arrange=several("good", "stranger", "expired"), found=GOOD, good=True),
    Case(name="good-between", arrange=several("mail", "good", "bare"), found=GOOD, good=True),
    Case(
        name="none-good",
        whole=True,
        arrange=several("stranger", "expired", "mail", "bare"),
        found="none of its 4 signatures is valid: 1. the certificate of CN=stranger was issued by CN=stranger, .*; "
        "2. the certificate of CN=expired expired on .*; 3. the certificate of CN=mail is not for signing code: .*; "
        r"4. it was signed by [0-9a-f]{12}, not by authority\.crt .*",
    ),
]


EMAIL = x509.RFC822Name("ci@example.org")
URI = x509.UniformResourceIdentifier("https://ci.example.org/build")
IDENTITIES = [
    Case(name="its-subject", arrange=named(EMAIL), found=SIGNED, good=True, identity="CN=signer"),
    Case(name="its-common-name", arrange=named(EMAIL), found=SIGNED, good=True, identity="signer"),
    Case(name="its-mail", arrange=named(EMAIL, URI), found=SIGNED, good=True, identity="ci@example.org"),
    Case(
        name="its-uri",
        whole=True,
        arrange=named(URI),
        found=SIGNED,
        good=True,
        identity="https://ci.example.org/build",
    ),
    *(
        Case(
            name=f"not-{name}",
            arrange=named(EMAIL, URI),
            found=rf"it was signed by CN=signer, not by {re.escape(name)}",
            identity=name,
        )
        for name in (
            "authority",
            "CN=authority",
            "Signer",
            "sign",
            "signer ",
            "example.org",
            "CI@example.org",
            "*",
            ".*",
        )
    ),
]


@pytest.mark.parametrize("case", [*TEXTS, *MIXED, *IDENTITIES], ids=lambda case: case.name)
def test_who_signed_is_told_as_it_is(signers: Signers, room: Room, case: Case) -> None:
    check_told(signers, room, case)


def test_a_fifo_in_the_place_of_a_provenance(signers: Signers, room: Room) -> None:
    os.mkfifo(signers.provenance)
    report = room.work / "report.json"
    options = (
        "verify",
        "-q",
        "--no-server",
        "--report",
        report,
        signers.archive,
        "--provenance",
        "authority.crt",
    )
    line = "error: 2 checks failed: manifest.files, provenance.signature"
    refused(room.run(*options), 7, line, may_write=["work/report.json"], report=report)
