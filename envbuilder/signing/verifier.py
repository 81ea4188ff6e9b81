"""Who is trusted to have signed: a public key, or a certificate with what is asked of those it vouches for."""

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
    """A public key that is trusted, and the certificate that it came in, if any."""

    path: Path
    key: Any
    certificate: Certificate | None = None
    """Of the signer itself, or of an authority: then whom it certified may have signed."""
    identity: str | None = None
    """The name that the signer's certificate must have; None: any that the authority certified."""
    timestamp_authorities: tuple[Certificate, ...] = ()
    """Who is believed about when something was signed; without them the certificate must be valid now."""

    @property
    def keyid(self) -> str:
        """See :func:`envbuilder.signing.keys.keyid`."""
        return keyid(self.key)


def load_verifier(
    path: Path, identity: str | None = None, timestamp_authority: Path | None = None
) -> Verifier:
    """Return the public key, or the certificate, in the file *path*.

    *identity* is the name that the signer's certificate must have; *timestamp_authority* a file with the certificates
    of those who are believed about when something was signed.

    Raises:
        RecipeError: it is neither, or of an unknown kind; or an identity is asked of a key, which has no name.
    """
    with needs_extra(EXTRA, "provenance"):
        import cryptography.x509 as _x509  # noqa: F401  # what follows needs it
    data = read_pem(path)
    if b"BEGIN CERTIFICATE" not in data:
        key = _public_key(data, path)
        if identity is not None:
            raise RecipeError(
                f"{path} is a public key, which has no name: nobody can be {identity!r}",
                hint="an identity is pinned in a certificate: give the signer's, or its authority's",
            )
        return Verifier(path=path, key=key)
    certificate = _certificates(data, path)[0]
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
    """Return the certificates in *path*, as PEM, that go with a signature of the private *key*: its own, then issuers'.

    Raises:
        RecipeError: there is none; the first is of another key, not for signing code, or not valid now.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    data = read_pem(path)
    if b"BEGIN CERTIFICATE" not in data:
        raise RecipeError(f"{path} is no certificate")
    try:
        chain = parse_certificates(data)
        if keyid(chain[0].public_key()) != keyid(key.public_key()):
            raise RecipeError(f"the certificate {path} is of another key than the one that signs")
        now = clock.now()
        problem = invalid_at(chain[0], now)
        if problem is not None:
            raise RecipeError(f"{path}: {problem}", hint="have a new one issued")
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
        if error.message == f"{path} is no public key":
            raise RecipeError(
                f"{path} is neither a public key nor a certificate",
                hint="both are PEM, as openssl writes them",
            ) from error
        raise
