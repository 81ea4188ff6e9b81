"""Keys and certificates of nobody, made anew for each test."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


def write_key(folder: Path, name: str, key: Any = None, passphrase: str | None = None) -> Any:
    """Write ``NAME.pem`` and ``NAME.pub``, and return the private key."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    (folder / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    (folder / f"{name}.pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return key


def name_of(text: str) -> x509.Name:
    """Return a name of one common name; of no part at all where *text* is empty."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)] if text else [])


def usage(*names: str) -> x509.KeyUsage:
    """Return a key usage of these names alone."""
    all_of_them = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{one: one in names for one in all_of_them})


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a certificate says."""

    issuer: Any = None
    issuer_name: str | None = None
    subject: str | None = None
    authority: bool = False
    begins: datetime.datetime = NOW - DAY
    ends: datetime.datetime = NOW + DAY
    path_length: int | None = None
    without: Sequence[type[x509.ExtensionType]] = ()
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    digest: Any = None


def write_certificate(path: Path, key: Any, **unusual: Any) -> Path:
    """Write a certificate of *key*, called as its file or *subject*, issued by the key *issuer* (default: itself).

    *unusual* are fields of :class:`Certificate`. A signer's is for signing code, an authority's for issuing. *without*
    leaves extensions out, *extensions* (each critical or not) replace those of their kind.
    """
    said = Certificate(**unusual)
    name = name_of(path.stem if said.subject is None else said.subject)
    by = name if said.issuer_name is None else name_of(said.issuer_name)
    constraints = x509.BasicConstraints(ca=said.authority, path_length=said.path_length)
    usual: dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool]] = {
        x509.BasicConstraints: (constraints, True),
        x509.KeyUsage: (usage("key_cert_sign" if said.authority else "digital_signature"), True),
    }
    if not said.authority:
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        usual[x509.ExtendedKeyUsage] = (purposes, False)
    usual |= {type(one): (one, critical) for one, critical in said.extensions}
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(said.begins)
        .not_valid_after(said.ends)
    )
    for kind, (one, critical) in usual.items():
        if kind not in said.without:
            builder = builder.add_extension(one, critical=critical)
    certificate = builder.sign(said.issuer or key, said.digest)
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path
