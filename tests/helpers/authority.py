"""Keys and certificates of nobody, made anew for each test."""

from __future__ import annotations

import datetime
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


def write_certificate(
    path: Path,
    key: Any,
    *,
    issuer: Any = None,
    issuer_name: str | None = None,
    authority: bool = False,
    begins: datetime.datetime = NOW - DAY,
    ends: datetime.datetime = NOW + DAY,
) -> Path:
    """Write a certificate of *key*, called as its file, issued by the key *issuer* (default: itself)."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, path.stem)])
    by = (
        name
        if issuer_name is None
        else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer_name)])
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer or key, None)
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path
