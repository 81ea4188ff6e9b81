"""Certificates of who signed a provenance: ``verify`` believes those that it should, and says why not others.

In each row ``authority.crt`` is the certificate that is trusted, and ``signer`` signs with one that it issued.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from tests.helpers.authority import DAY, NOW, usage
from tests.helpers.hostile import Room, refused
from tests.helpers.hostile_signers import OF, SIGNED, Case, Signers, certified, check_told


def purposes(*names: x509.ObjectIdentifier) -> Callable[[Signers], object]:
    """Let the signer's certificate be for these purposes."""
    return certified(extensions=[(x509.ExtendedKeyUsage(list(names)), False)])


def through(*, chain: tuple[str, ...] = ("signer", "middle"), **options: Any) -> Callable[[Signers], object]:
    """Let an authority between, whose certificate has these options, issue the signer's; *chain* goes along."""

    def arrange(signers: Signers) -> None:
        signers.certify("middle", "authority", **{"authority": True, **options})
        signers.certify("signer", "middle")
        signers.attest(("signer", signers.pem(*chain)))

    return arrange


def impostor(signers: Signers) -> None:
    """Another authority of the same name."""
    signers.certify("impostor", authority=True, subject="authority", issuer_name="authority")
    signers.certify("signer", "impostor", issuer_name="authority")
    signers.attest(("signer", signers.pem("signer", "impostor")))


def long_way(signers: Signers) -> None:
    """More authorities than anybody has."""
    names = ["authority", *(f"middle{number}" for number in range(8))]
    for above, name in itertools.pairwise(names):
        signers.certify(name, above, authority=True)
    signers.certify("signer", names[-1])
    signers.attest(("signer", signers.pem("signer", *reversed(names[1:]))))


def circle(signers: Signers) -> None:
    """Two authorities that issued each other."""
    signers.certify("one", "two", authority=True)
    signers.certify("two", "one", authority=True)
    signers.certify("signer", "one")
    signers.attest(("signer", signers.pem("signer", "one", "two")))


def two_below(signers: Signers) -> None:
    """An authority that allows none below it."""
    signers.certify("authority", authority=True, path_length=0)
    signers.certify("middle", "authority", authority=True)
    signers.certify("signer", "middle")
    signers.attest(("signer", signers.pem("signer", "middle")))


def of_another_key(signers: Signers) -> None:
    """A certificate that is right, of somebody else than who signed."""
    signers.certify("other", "authority")
    signers.attest(("signer", signers.pem("other")))


def alone(signers: Signers) -> None:
    """A certificate that nobody issued."""
    signers.certify("signer")
    signers.attest(("signer", signers.pem("signer")))


def authority_signs(signers: Signers) -> None:
    """The authority itself, whose certificate is for issuing."""
    signers.attest(("authority", ""))


def edited(signers: Signers) -> None:
    """A statement that was changed afterwards."""
    certified()(signers)
    payload = signers.payload.replace(b"urn:envbuilder:builder", b"https://better.example")
    signers.edit(lambda envelope: envelope.update(payload=base64.b64encode(payload).decode()))


def of_kind(make: Callable[[], Any]) -> Callable[[Signers], object]:
    """Let the signer have a key of another kind, of which certificates can be made all the same."""

    def arrange(signers: Signers) -> None:
        signers.certify("signer", "authority", kind=make())
        signers.attest(("somebody", signers.pem("signer")))

    return arrange


PURPOSE = OF + "is not for signing code: "
CERTIFICATES = [
    Case(name="right", whole=True, arrange=certified(), found=SIGNED, good=True),
    Case(
        name="no-purpose",
        arrange=certified(without=[x509.ExtendedKeyUsage]),
        found=PURPOSE + "it names no purpose",
    ),
    Case(
        name="server",
        whole=True,
        arrange=purposes(Purpose.SERVER_AUTH),
        found=PURPOSE + "it is for serverAuth",
    ),
    Case(name="client", arrange=purposes(Purpose.CLIENT_AUTH), found=PURPOSE + "it is for clientAuth"),
    Case(
        name="mail", arrange=purposes(Purpose.EMAIL_PROTECTION), found=PURPOSE + "it is for emailProtection"
    ),
    Case(name="time", arrange=purposes(Purpose.TIME_STAMPING), found=PURPOSE + "it is for timeStamping"),
    Case(name="ocsp", arrange=purposes(Purpose.OCSP_SIGNING), found=PURPOSE + "it is for OCSPSigning"),
    Case(
        name="any",
        arrange=purposes(Purpose.ANY_EXTENDED_KEY_USAGE),
        found=PURPOSE + "it is for anyExtendedKeyUsage",
    ),
    Case(
        name="unknown-purpose",
        arrange=purposes(x509.ObjectIdentifier("1.2.3.4")),
        found=PURPOSE + r"it is for 1\.2\.3\.4",
    ),
    Case(
        name="two-purposes",
        arrange=purposes(Purpose.SERVER_AUTH, Purpose.CODE_SIGNING),
        found=SIGNED,
        good=True,
    ),
    Case(
        name="no-usage",
        arrange=certified(without=[x509.KeyUsage]),
        found=OF + "is not for signatures: its key usage does not include digitalSignature",
    ),
    Case(
        name="usage-encipherment",
        arrange=certified(extensions=[(usage("key_encipherment"), True)]),
        found=OF + "is not for signatures: .*",
    ),
    Case(
        name="usage-content-commitment",
        arrange=certified(extensions=[(usage("content_commitment"), True)]),
        found=OF + "is not for signatures: .*",
    ),
    Case(
        name="usage-issuing",
        arrange=certified(extensions=[(usage("key_cert_sign", "crl_sign"), True)]),
        found=OF + "is not for signatures: .*",
    ),
    Case(
        name="an-authority-s",
        arrange=certified(extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
        found=OF + "belongs to an authority, not to a signer",
    ),
    Case(
        name="expired",
        whole=True,
        arrange=certified(begins=NOW - 2 * DAY, ends=NOW - DAY),
        found=OF + r"expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC",
    ),
    Case(
        name="to-come",
        arrange=certified(begins=NOW + DAY, ends=NOW + 2 * DAY),
        found=OF + r"is valid from \d{4}-\d\d-\d\d \d\d:\d\d UTC on",
    ),
    Case(
        name="critical-unknown",
        arrange=certified(
            extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
        ),
        found=OF + r"has the critical extension 1\.2\.3\.4, which is not supported",
    ),
    Case(
        name="unknown-and-not-critical",
        arrange=certified(
            extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False)]
        ),
        found=SIGNED,
        good=True,
    ),
    Case(
        name="short-rsa",
        arrange=of_kind(lambda: rsa.generate_private_key(65537, 1024)),
        found="the key of CN=signer is RSA with 1024 bits; at least 2048 are required",
    ),
    Case(
        name="short-curve",
        arrange=of_kind(lambda: ec.generate_private_key(ec.SECP192R1())),
        found="the key of CN=signer is ECDSA with 192 bits; at least 256 are required",
    ),
    Case(
        name="dsa",
        arrange=of_kind(lambda: dsa.generate_private_key(1024)),
        found="the key of CN=signer is of an unknown kind",
    ),
    Case(
        name="impostor",
        whole=True,
        arrange=impostor,
        found="the certificate of CN=authority was not issued by CN=authority: "
        "its signature is not from that authority",
    ),
    Case(
        name="by-itself",
        arrange=alone,
        found=OF + "was issued by CN=signer, not by CN=authority or an authority below it",
    ),
    Case(
        name="authority-signs",
        arrange=authority_signs,
        found="the certificate of CN=authority is not for .*",
    ),
    Case(
        name="of-another",
        arrange=of_another_key,
        found="it was changed after CN=other signed it, or another key signed it",
    ),
    Case(
        name="edited",
        arrange=edited,
        found="it was changed after CN=signer signed it, or another key signed it",
    ),
]
CHAINS = [
    Case(name="between", arrange=through(), found=SIGNED, good=True),
    Case(
        name="between-in-any-order",
        arrange=through(chain=("signer", "authority", "middle")),
        found=SIGNED,
        good=True,
    ),
    Case(
        name="between-missing",
        arrange=through(chain=("signer",)),
        found=OF + "was issued by CN=middle, not by CN=authority or an authority below it",
    ),
    Case(
        name="signer-last",
        arrange=through(chain=("middle", "signer")),
        found="the certificate of CN=middle is not for signing code: .*",
    ),
    Case(
        name="between-no-authority",
        arrange=through(authority=False),
        found="the certificate of CN=middle belongs neither to an authority nor to the signer",
    ),
    Case(
        name="between-no-constraints",
        arrange=through(without=[x509.BasicConstraints]),
        found="the certificate of CN=middle belongs neither to an authority nor to the signer",
    ),
    Case(
        name="between-may-not-issue",
        arrange=through(extensions=[(usage("digital_signature"), True)]),
        found="the authority CN=middle must not issue certificates: its key usage does not include keyCertSign",
    ),
    Case(
        name="between-of-servers",
        arrange=through(extensions=[(x509.ExtendedKeyUsage([Purpose.SERVER_AUTH]), False)]),
        found="the authority CN=middle is not valid for code signing: it is for serverAuth",
    ),
    Case(
        name="between-of-code",
        arrange=through(extensions=[(x509.ExtendedKeyUsage([Purpose.CODE_SIGNING]), True)]),
        found=SIGNED,
        good=True,
    ),
    Case(
        name="between-expired",
        arrange=through(begins=NOW - 2 * DAY, ends=NOW - DAY),
        found=r"the certificate of CN=middle expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC",
    ),
    Case(
        name="between-constrained",
        arrange=through(
            extensions=[(x509.NameConstraints([x509.DNSName("example.org")], None), True)],
        ),
        found="the authority CN=middle has name constraints, which are not supported",
    ),
    Case(
        name="between-critical",
        arrange=through(
            extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
        ),
        found=r"the certificate of CN=middle has the critical extension 1\.2\.3\.4, which is not supported",
    ),
    Case(
        name="none-allowed-below",
        arrange=two_below,
        found="the authority CN=authority allows 0 authorities below it, found 1",
    ),
    Case(name="nine", whole=True, arrange=long_way, found="9 certificates; at most 8 are read"),
    Case(
        name="circle",
        arrange=circle,
        found="the certificate of CN=two was issued by CN=one, not by CN=authority or an authority below it",
    ),
]


@pytest.mark.parametrize("case", [*CERTIFICATES, *CHAINS], ids=lambda case: case.name)
def test_who_signed_is_told_as_it_is(signers: Signers, room: Room, case: Case) -> None:
    check_told(signers, room, case)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("authority.pub", "--identity", "x"),
            "authority.pub is a public key, which has no name: the identity 'x' cannot be checked",
        ),
        (("authority.pem",), r"authority.pem is a private key; expected a public key"),
        (("gone.crt",), "the key gone.crt cannot be read: No such file or directory"),
        (("noise.crt",), "noise.crt is neither a public key nor a certificate"),
        (("cut.crt",), "cut.crt: the certificate cannot be read: .*"),
        ((".",), "the key . cannot be read: is a folder, not a file"),
        (("/dev/zero",), "the key /dev/zero cannot be read: is a character device, not a file"),
        (("large.crt",), "the key large.crt cannot be read: it is larger than 64 KiB"),
        (("authority.crt", "--timestamp-authority", "noise.crt"), "noise.crt: .*"),
        (
            ("authority.crt", "--timestamp-authority", "gone.crt"),
            "the key gone.crt cannot be read: No such .*",
        ),
    ],
)
def test_what_is_trusted_must_be_a_key(
    signers: Signers, room: Room, options: tuple[str, ...], line: str
) -> None:
    (room.work / "noise.crt").write_bytes(bytes(range(256)))
    (room.work / "cut.crt").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (room.work / "large.crt").write_bytes(b"x" * 10**6)
    outcome = room.run("verify", "-q", "--no-server", signers.archive, "--provenance", *options)
    refused(outcome, 2, re.compile(f"error: {line}"))
