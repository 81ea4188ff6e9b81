"""Trusted signers: a public key, or a certificate with the requirements on the signers it certified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envbuilder.errors import RecipeError, VerifyError
from envbuilder.signing.certificates import certified_by, invalid_at, parse_certificates
from envbuilder.signing.keys import EXTRA, keyid, known_key, parse_public_key, read_pem
from envbuilder.util import clock
from envbuilder.util.extras import needs_extra

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A trusted public key, and the certificate that contains it, if any."""

    path: Path
    key: Any
    certificate: Certificate | None = None
    """The certificate of the signer or of an authority; an authority covers the signers it certified."""
    identity: str | None = None
    """The name required in the signer's certificate; None accepts any that the authority certified."""
    timestamp_authorities: tuple[Certificate, ...] = ()
    """The trusted timestamp authorities; without them the certificate must be valid now."""

    @property
    def keyid(self) -> str:
        """See :func:`envbuilder.signing.keys.keyid`."""
        return keyid(self.key)


def load_verifier(
    path: Path, identity: str | None = None, timestamp_authority: Path | None = None
) -> Verifier:
    """Return the public key or certificate in the file *path*.

    *identity* is the name required in the signer's certificate; *timestamp_authority* is a file with the certificates
    of trusted timestamp authorities.

    Raises:
        RecipeError: it is neither, or of an unknown kind; or an identity is given with a bare key, which has no name.
    """
    with needs_extra(EXTRA, "provenance"):
        import cryptography.x509 as _x509  # noqa: F401  # what follows needs it
    data = read_pem(path)
    if b"BEGIN CERTIFICATE" not in data:
        key = _public_key(data, path)
        if identity is not None:
            raise RecipeError(
                f"{path} is a public key, which has no name: the identity {identity!r} cannot be checked",
                hint="give the certificate of the signer or of its authority",
            )
        return Verifier(path=path, key=key)
    certificate, *more = _certificates(data, path)
    if more:
        raise RecipeError(
            f"{path} holds {1 + len(more)} certificates: which of them is trusted is not clear",
            hint="name a file with one: the signer's own, or that of its authority",
        )
    authorities = (
        ()
        if timestamp_authority is None
        else _certificates(read_pem(timestamp_authority), timestamp_authority)
    )
    return Verifier(
        path=path,
        key=known_key(certificate.public_key(), str(path)),
        certificate=certificate,
        identity=identity,
        timestamp_authorities=authorities,
    )


def load_certificates(path: Path, key: Any) -> str:
    """Return the certificates in *path* (PEM) to attach to signatures of the private *key*: its own, then its issuers'.

    Raises:
        RecipeError: there is none, or the first is for another key, not for code signing, or not valid now.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    data = read_pem(path)
    if b"BEGIN CERTIFICATE" not in data:
        raise RecipeError(f"{path} is not a certificate")
    try:
        chain = parse_certificates(data)
        if keyid(chain[0].public_key()) != keyid(key.public_key()):
            raise RecipeError(f"the certificate {path} is for another key than the signing key")
        now = clock.now()
        problem = invalid_at(chain[0], now)
        if problem is not None:
            raise RecipeError(f"{path}: {problem}", hint="request a new certificate")
        certified_by(chain[:1], chain[0], now)
    except VerifyError as error:
        raise RecipeError(f"{path}: {error.message}", hint=error.hint) from error
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)


def _certificates(data: bytes, path: Path) -> tuple[Certificate, ...]:
    try:
        return parse_certificates(data)
    except VerifyError as error:
        raise RecipeError(f"{path}: {error.message}") from error


def _public_key(data: bytes, path: Path) -> Any:
    try:
        return parse_public_key(data, str(path))
    except RecipeError as error:
        if error.message == f"{path} is not a public key":
            raise RecipeError(
                f"{path} is neither a public key nor a certificate",
                hint="expected PEM, as written by openssl",
            ) from error
        raise
