"""Keys as written by OpenSSL and cosign (PEM): Ed25519, ECDSA, RSA.

The passphrase of a private key comes from the environment variable :data:`PASSPHRASE`, never from the command line.
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
"""The environment variable with the passphrase of a private key."""
EXTRA: Final = "proof"
"""The extra that installs ``cryptography``."""
KEY_BYTES: Final = 64 * 2**10
"""Largest size of a key or certificate file: fits a 16,384-bit RSA key and a chain of ten certificates."""
_RSA_BITS: Final = 2048
_CURVE_BITS: Final = 256


def load_signer(path: Path, environ: Mapping[str, str] = os.environ, *, verb: str = "provenance") -> Any:
    """Return the private key in the file *path*; *verb* is the command that needs it, for errors.

    Raises:
        RecipeError: it is invalid, of an unknown kind, too short, or its passphrase is wrong or missing.
    """
    data = read_pem(path)
    passphrase = environ.get(PASSPHRASE)
    return parse_signer(data, str(path), passphrase.encode() if passphrase else None, verb=verb)


def parse_signer(
    data: bytes, origin: str, passphrase: bytes | None = None, *, verb: str = "provenance"
) -> Any:
    """Return the private key in *data*; *origin* names it in errors.

    Raises:
        RecipeError: see :func:`load_signer`.
    """
    with needs_extra(EXTRA, verb):
        from cryptography.exceptions import InternalError, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    if b"ENCRYPTED SIGSTORE" in data or b"ENCRYPTED COSIGN" in data:
        raise RecipeError(
            f"{origin} is in cosign's own key format", hint="omit --key and sign the statement with cosign"
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError as error:
        if passphrase:  # the key has none; the variable is for another key
            return parse_signer(data, origin, verb=verb)
        raise RecipeError(f"the key {origin} has a passphrase", hint=f"set {PASSPHRASE}") from error
    except (ValueError, UnsupportedAlgorithm, InternalError) as error:
        if passphrase and b"ENCRYPTED" in data:
            raise RecipeError(f"the passphrase in {PASSPHRASE} is wrong for the key {origin}") from error
        raise RecipeError(
            f"{origin} is not a private key",
            hint="openssl genpkey -algorithm ed25519 -out key.pem creates one",
        ) from error
    return known_key(key, origin)


def parse_public_key(data: bytes, origin: str, *, verb: str = "provenance") -> Any:
    """Return the public key (PEM) in *data*; *origin* names it in errors.

    Raises:
        RecipeError: it is invalid, or of an unknown kind.
    """
    with needs_extra(EXTRA, verb):
        from cryptography.exceptions import InternalError, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    if b"PRIVATE KEY" in data:
        raise RecipeError(
            f"{origin} is a private key; expected a public key",
            hint="`openssl pkey -in KEY -pubout -out KEY.pub` writes the public one",
        )
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm, InternalError) as error:
        raise RecipeError(
            f"{origin} is not a public key", hint="expected PEM, as written by openssl"
        ) from error
    return known_key(key, origin)


def new_signer(verb: str) -> Any:
    """Return a new private key (Ed25519); *verb* is the command that needs it, for errors.

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
    """Return the id of a public key: the sha256 of its SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign(key: Any, data: bytes) -> bytes:
    """Return the signature of *data*, with SHA-256 where the key type leaves a choice, like cosign."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    signature: bytes = key.sign(data, padding.PKCS1v15(), SHA256())
    return signature


def is_signed_by(key: Any, signature: bytes, data: bytes) -> bool:
    """Return whether *signature* is a valid signature of *data* by the public *key*."""
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
    """Return *key* if its type is supported and it is strong enough; *origin* names it in errors.

    Raises:
        RecipeError: it is of an unknown kind or too short.
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
    """Return the content of a file with a key or certificates.

    Raises:
        RecipeError: it cannot be read or is too large.
    """
    try:
        data = read_regular(path, most=KEY_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"the key {path} cannot be read: {error.strerror or error}") from error
    if len(data) > KEY_BYTES:
        raise RecipeError(f"the key {path} cannot be read: it is larger than {KEY_BYTES >> 10} KiB")
    return data
