"""Keys and certificates, as OpenSSL and cosign write them (PEM): Ed25519, ECDSA, RSA.

A private key's passphrase comes from :data:`PASSPHRASE` of the environment, never from a command line.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from envbuilder.errors import RecipeError, VerifyError
from envbuilder.util.extras import needs_extra

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PASSPHRASE: Final = "ENVBUILDER_KEY_PASSPHRASE"
"""The variable with the passphrase of a private key."""
_RSA_BITS: Final = 2048
_VERB: Final = "provenance"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A public key that is trusted, and the certificate that it came in, if any."""

    path: Path
    key: Any
    certificate: Certificate | None = None

    @property
    def keyid(self) -> str:
        """See :func:`keyid`."""
        return keyid(self.key)


def load_signer(path: Path, environ: Mapping[str, str] = os.environ) -> Any:
    """Return the private key in the file *path*.

    Raises:
        RecipeError: it is none, of a kind that is not known, too short, or its passphrase is not right or not there.
    """
    with needs_extra("proof", _VERB):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    data = _read(path)
    if b"ENCRYPTED SIGSTORE" in data or b"ENCRYPTED COSIGN" in data:
        raise RecipeError(
            f"{path} is a key of cosign's own", hint="leave out --key, and sign the statement with cosign"
        )
    passphrase = environ.get(PASSPHRASE)
    try:
        key = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError as error:
        if passphrase:  # a key without one: the variable is for another
            return _known(load_pem_private_key(data, None), path)
        raise RecipeError(f"the key {path} has a passphrase", hint=f"put it into {PASSPHRASE}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase and b"ENCRYPTED" in data:
            raise RecipeError(f"the passphrase in {PASSPHRASE} is not that of the key {path}") from error
        raise RecipeError(
            f"{path} is no private key", hint="openssl genpkey -algorithm ed25519 -out key.pem makes one"
        ) from error
    return _known(key, path)


def load_verifier(path: Path) -> Verifier:
    """Return the public key, or the certificate, in the file *path*.

    Raises:
        RecipeError: it is neither, or of a kind that is not known.
    """
    with needs_extra("proof", _VERB):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from cryptography.x509 import load_pem_x509_certificate
    data = _read(path)
    try:
        if b"BEGIN CERTIFICATE" in data:
            certificate = load_pem_x509_certificate(data)
            return Verifier(path=path, key=_known(certificate.public_key(), path), certificate=certificate)
        if b"PRIVATE KEY" in data:
            raise RecipeError(
                f"{path} is a private key: it signs, and belongs to nobody else",
                hint=f"openssl pkey -in {path} -pubout -out key.pub gives the public one",
            )
        return Verifier(path=path, key=_known(load_pem_public_key(data), path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RecipeError(
            f"{path} is neither a public key nor a certificate", hint="both are PEM, as openssl writes them"
        ) from error


def load_certificate(path: Path, key: Any) -> str:
    """Return the certificate in *path*, as PEM, that goes with a signature of the private *key*.

    Raises:
        RecipeError: it is none, of another key, or not valid now.
    """
    found = load_verifier(path)
    if found.certificate is None:
        raise RecipeError(f"{path} is no certificate")
    if found.keyid != keyid(key.public_key()):
        raise RecipeError(f"the certificate {path} is of another key than the one that signs")
    problem = invalid_now(found.certificate)
    if problem is not None:
        raise RecipeError(f"{path}: {problem}", hint="have a new one issued")
    return _pem(found.certificate)


def keyid(key: Any) -> str:
    """Return what names a public key: the sha256 of its SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign(key: Any, data: bytes) -> bytes:
    """Return the signature of *data*: with SHA-256 where the kind of key leaves a choice, as cosign does."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    signature: bytes = key.sign(data, padding.PKCS1v15(), SHA256())
    return signature


def is_signed_by(key: Any, signature: bytes, data: bytes) -> bool:
    """Say whether *signature* is one of *data* by the public *key*."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(SHA256()))
        else:
            key.verify(signature, data, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def certified_key(pem: str, trusted: Verifier) -> Any:
    """Return the key of the certificate *pem*, which came with a signature, where *trusted* vouches for it.

    Raises:
        VerifyError: it is no certificate, not issued by the trusted one, or one of both is not valid now.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, load_pem_x509_certificate

    assert trusted.certificate is not None
    try:
        certificate = load_pem_x509_certificate(pem.encode())
        key = _known(certificate.public_key(), trusted.path)
        if certificate != trusted.certificate:
            constraints = trusted.certificate.extensions.get_extension_for_class(BasicConstraints)
            if not constraints.value.ca:
                raise VerifyError(f"{trusted.path} is no certificate of an authority, and not the signer's")
            certificate.verify_directly_issued_by(trusted.certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm, RecipeError) as error:
        raise VerifyError(
            f"the signer's certificate is not one that {trusted.path} issued: {error}"
        ) from error
    except InvalidSignature as error:
        raise VerifyError(f"the signer's certificate was not issued by {trusted.path}") from error
    except ExtensionNotFound as error:
        raise VerifyError(
            f"{trusted.path} is no certificate of an authority, and not the signer's"
        ) from error
    for one in (certificate, trusted.certificate):
        problem = invalid_now(one)
        if problem is not None:
            raise VerifyError(problem)
    return key


def invalid_now(certificate: Certificate) -> str | None:
    """Say why a certificate is not valid today; None where it is."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = certificate.subject.rfc4514_string()
    if now > certificate.not_valid_after_utc:
        return f"the certificate of {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_valid_before_utc:
        return f"the certificate of {name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
    return None


def _known(key: Any, path: Path) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)) and key.key_size < _RSA_BITS:
        raise RecipeError(f"the key {path} is RSA of {key.key_size} bits; {_RSA_BITS} are the least")
    kinds = (
        ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey, ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey,
        rsa.RSAPrivateKey, rsa.RSAPublicKey,
    )  # fmt: skip
    if not isinstance(key, kinds):
        raise RecipeError(f"the key {path} is of a kind that is not known", hint="known: Ed25519, ECDSA, RSA")
    return key


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(f"the key {path} cannot be read: {error.strerror}") from error
