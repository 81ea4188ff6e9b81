"""Keys, as OpenSSL and cosign write them (PEM): Ed25519, ECDSA, RSA.

A private key's passphrase comes from :data:`PASSPHRASE` of the environment, never from a command line.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import RecipeError
from envbuilder.util.extras import needs_extra
from envbuilder.util.files import read_regular

PASSPHRASE: Final = "ENVBUILDER_KEY_PASSPHRASE"
"""The variable with the passphrase of a private key."""
EXTRA: Final = "proof"
"""The extra that installs ``cryptography``."""
KEY_BYTES: Final = 64 * 2**10
"""Of a file with a key or a certificate: RSA of 16,384 bits and a chain of ten certificates have room in it."""
_RSA_BITS: Final = 2048
_CURVE_BITS: Final = 256


def load_signer(path: Path, environ: Mapping[str, str] = os.environ, *, verb: str = "provenance") -> Any:
    """Return the private key in the file *path*; *verb* is what needs it.

    Raises:
        RecipeError: it is none, of an unknown kind, too short, or its passphrase is wrong or missing.
    """
    data = read_pem(path)
    passphrase = environ.get(PASSPHRASE)
    return parse_signer(data, str(path), passphrase.encode() if passphrase else None, verb=verb)


def parse_signer(
    data: bytes, origin: str, passphrase: bytes | None = None, *, verb: str = "provenance"
) -> Any:
    """Return the private key in *data*, which came from *origin*.

    Raises:
        RecipeError: see :func:`load_signer`.
    """
    with needs_extra(EXTRA, verb):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    if b"ENCRYPTED SIGSTORE" in data or b"ENCRYPTED COSIGN" in data:
        raise RecipeError(
            f"{origin} is a key of cosign's own", hint="leave out --key, and sign the statement with cosign"
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError as error:
        if passphrase:  # a key without one: the variable is for another
            return parse_signer(data, origin, verb=verb)
        raise RecipeError(f"the key {origin} has a passphrase", hint=f"put it into {PASSPHRASE}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase and b"ENCRYPTED" in data:
            raise RecipeError(f"the passphrase in {PASSPHRASE} is not that of the key {origin}") from error
        raise RecipeError(
            f"{origin} is no private key", hint="openssl genpkey -algorithm ed25519 -out key.pem makes one"
        ) from error
    return known_key(key, origin)


def parse_public_key(data: bytes, origin: str, *, verb: str = "provenance") -> Any:
    """Return the public key (PEM) in *data*, which came from *origin*.

    Raises:
        RecipeError: it is none, or of an unknown kind.
    """
    with needs_extra(EXTRA, verb):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    if b"PRIVATE KEY" in data:
        raise RecipeError(
            f"{origin} is a private key: it signs, and belongs to nobody else",
            hint="`openssl pkey -in KEY -pubout -out KEY.pub` writes the public one",
        )
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RecipeError(f"{origin} is no public key", hint="it is PEM, as openssl writes it") from error
    return known_key(key, origin)


def new_signer(verb: str) -> Any:
    """Return a new private key (Ed25519); *verb* is what needs it.

    Raises:
        RecipeError: ``cryptography`` is not installed.
    """
    with needs_extra(EXTRA, verb):
        from cryptography.hazmat.primitives.asymmetric import ed25519
    return ed25519.Ed25519PrivateKey.generate()


def private_pem(key: Any) -> str:
    """Return a private key as PEM, without a passphrase."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


def public_pem(key: Any) -> str:
    """Return the public half of a private key as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


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


def known_key(key: Any, origin: str) -> Any:
    """Return *key*, which came from *origin*, where it is of a kind that signs and strong enough.

    Raises:
        RecipeError: it is not.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return key
    least = None
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        kind, least = "RSA", _RSA_BITS
    elif isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        kind, least = "ECDSA", _CURVE_BITS
    if least is None:
        raise RecipeError(f"the key {origin} is of an unknown kind", hint="known kinds: Ed25519, ECDSA, RSA")
    if key.key_size < least:
        raise RecipeError(
            f"the key {origin} is {kind} with {key.key_size} bits; at least {least} are required"
        )
    return key


def read_pem(path: Path) -> bytes:
    """Return the bytes of a file with a key or certificates.

    Raises:
        RecipeError: it cannot be read, or is too large to be one.
    """
    try:
        data = read_regular(path, most=KEY_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"the key {path} cannot be read: {error.strerror or error}") from error
    if len(data) > KEY_BYTES:
        raise RecipeError(f"the key {path} cannot be read: it is larger than {KEY_BYTES >> 10} KiB")
    return data
