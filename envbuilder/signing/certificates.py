"""Validation of signers' certificates: purpose, validity period, and chain to a trusted authority.

RFC 5280 path validation, as far as code-signing certificates need it, over given chains. The verifier of
``cryptography`` is not used: it supports neither Ed25519 nor code signing. What is not supported here (name
constraints, unknown critical extensions) is rejected, not ignored.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from envbuilder.errors import EnvbuilderError, VerifyError
from envbuilder.signing.keys import known_key
from envbuilder.util.printable import printable_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LONGEST_CHAIN: Final = 8
"""Largest number of certificates with a signature; public authorities use three."""
_STRONG: Final = ("sha256", "sha384", "sha512")
_PURPOSES: Final = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "2.5.29.37.0": "anyExtendedKeyUsage",
}
"""Extended key usages by number: RFC 5280, section 4.2.1.12."""
_T = TypeVar("_T")


def parse_certificates(text: bytes | str) -> tuple[Certificate, ...]:
    """Return the certificates in PEM *text*, the signer's first.

    Raises:
        VerifyError: there is none, too many, or one cannot be read.
    """
    from cryptography.x509 import load_pem_x509_certificates

    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return _checked(_read(lambda: load_pem_x509_certificates(data)))


def parse_der_certificates(chain: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Return the certificates of a DER chain, as in Sigstore bundles.

    Raises:
        VerifyError: there is none, too many, or one cannot be read.
    """
    from cryptography.x509 import load_der_x509_certificate

    return _checked(_read(lambda: [load_der_x509_certificate(one) for one in chain]))


def certified_by(chain: Sequence[Certificate], trusted: Certificate, at: datetime.datetime) -> None:
    """Check that the first certificate of *chain* is valid for code signing at the time *at* and issued by *trusted*.

    *trusted* is the certificate of an authority, which issued the first certificate directly or through others of the
    chain, or the first certificate itself.

    Raises:
        VerifyError: a certificate is not acceptable; the message names it and the reason.
    """
    signer = chain[0]
    _check_strength(signer)
    _check_signer(signer, pinned=signer == trusted)
    path = [signer] if signer == trusted else _path(chain, trusted)
    for below, authority in enumerate(path[1:]):
        _check_authority(authority, below)
    for one in path:
        _check_strength(one)
        problem = invalid_at(one, at)
        if problem is not None:
            raise VerifyError(
                problem,
                hint="it must be valid when the archive is verified, unless a timestamp proves when it was signed: "
                "`envbuilder attest --timestamp`, `envbuilder verify --timestamp-authority`",
            )


def invalid_at(certificate: Certificate, at: datetime.datetime) -> str | None:
    """Return why a certificate is not valid at a time; None if it is."""
    if at > certificate.not_valid_after_utc:
        return (
            f"the certificate of {signer_name(certificate)} expired on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
    if at < certificate.not_valid_before_utc:
        return (
            f"the certificate of {signer_name(certificate)} is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
        )
    return None


def signer_name(certificate: Certificate) -> str:
    """Return a certificate's subject for display, or if that is empty one of its alternative names."""
    subject = certificate.subject.rfc4514_string()
    return printable_line(subject or next(iter(sorted(_alternative_names(certificate))), "nobody"))


def identities(certificate: Certificate) -> frozenset[str]:
    """Return every name that ``--identity`` may pin: subject, common names, e-mail addresses, URIs, host names."""
    from cryptography.x509 import NameOID

    common = {str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    names = common | {certificate.subject.rfc4514_string()} | _alternative_names(certificate)
    return frozenset(names - {""})


def _alternative_names(certificate: Certificate) -> set[str]:
    from cryptography.x509 import DNSName, RFC822Name, SubjectAlternativeName, UniformResourceIdentifier

    names = _extension(certificate, SubjectAlternativeName)
    if names is None:
        return set()
    return {
        str(value)
        for kind in (RFC822Name, UniformResourceIdentifier, DNSName)
        for value in names.get_values_for_type(kind)
    }


# -- the steps -------------------------------------------------------------------------------------


def _check_signer(certificate: Certificate, *, pinned: bool) -> None:
    from cryptography.x509 import BasicConstraints, ExtendedKeyUsage, KeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID

    name = signer_name(certificate)
    _check_critical(certificate)
    purposes = _extension(certificate, ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise VerifyError(
            f"the certificate of {name} is not for signing code: {_purposes(purposes)}",
            hint="its extended key usage must include codeSigning",
        )
    usage = _extension(certificate, KeyUsage)
    if usage is None or not usage.digital_signature:
        raise VerifyError(
            f"the certificate of {name} is not for signatures: its key usage does not include digitalSignature"
        )
    basic = _extension(certificate, BasicConstraints)
    if basic is not None and basic.ca and not pinned:
        raise VerifyError(f"the certificate of {name} belongs to an authority, not to a signer")


def _check_authority(certificate: Certificate, below: int) -> None:
    """Check that *certificate* is an authority's, with *below* other authorities between it and the signer."""
    from cryptography.x509 import BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints
    from cryptography.x509.oid import ExtendedKeyUsageOID

    name = signer_name(certificate)
    _check_critical(certificate)
    if _extension(certificate, NameConstraints) is not None:
        raise VerifyError(f"the authority {name} has name constraints, which are not supported")
    basic = _extension(certificate, BasicConstraints)
    if basic is None or not basic.ca:
        raise VerifyError(f"the certificate of {name} belongs neither to an authority nor to the signer")
    if basic.path_length is not None and below > basic.path_length:
        raise VerifyError(
            f"the authority {name} allows {basic.path_length} authorities below it, found {below}"
        )
    usage = _extension(certificate, KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise VerifyError(
            f"the authority {name} must not issue certificates: its key usage does not include keyCertSign"
        )
    purposes = _extension(certificate, ExtendedKeyUsage)
    allowed = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if purposes is not None and not any(one in purposes for one in allowed):
        raise VerifyError(f"the authority {name} is not valid for code signing: {_purposes(purposes)}")


def _path(chain: Sequence[Certificate], trusted: Certificate) -> list[Certificate]:
    """Return the certificates from the signer's to the *trusted* one, each issued by the next."""
    path, others = [chain[0]], list(chain[1:])
    while True:
        if _issued(path[-1], trusted):
            return [*path, trusted]
        issuer = next((one for one in others if _issued(path[-1], one)), None)
        if issuer is None:
            break
        others.remove(issuer)
        path.append(issuer)
    last = path[-1]
    name, by = signer_name(last), printable_line(last.issuer.rfc4514_string()) or "nobody"
    raise VerifyError(
        f"the certificate of {name} was issued by {by}, not by {signer_name(trusted)} or an authority below it"
        if last.issuer != trusted.subject
        else f"the certificate of {name} was not issued by {by}: its signature is not from that authority"
    )


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_strength(certificate: Certificate) -> None:
    name = signer_name(certificate)
    digest = _read(lambda: certificate.signature_hash_algorithm)
    if digest is not None and digest.name not in _STRONG:  # Ed25519 has no separate digest
        raise VerifyError(f"the certificate of {name} is signed with {digest.name}, which is too weak")
    try:
        known_key(_read(certificate.public_key), f"of {name}")
    except EnvbuilderError as error:
        raise VerifyError(error.message) from error


def _check_critical(certificate: Certificate) -> None:
    """Reject critical extensions that are not supported."""
    from cryptography import x509

    known = (
        x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName,
        x509.CertificatePolicies, x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier, x509.NameConstraints,
    )  # fmt: skip
    for one in _read(lambda: list(certificate.extensions)):
        if one.critical and not isinstance(one.value, known):
            raise VerifyError(
                f"the certificate of {signer_name(certificate)} has the critical extension "
                f"{one.oid.dotted_string}, which is not supported"
            )


def _extension(certificate: Certificate, kind: Any) -> Any:
    from cryptography.x509 import ExtensionNotFound

    try:
        return _read(lambda: certificate.extensions.get_extension_for_class(kind)).value
    except ExtensionNotFound:
        return None


def _purposes(purposes: Any) -> str:
    if purposes is None:
        return "it names no purpose"
    return "it is for " + ", ".join(_PURPOSES.get(one.dotted_string, one.dotted_string) for one in purposes)


def _checked(certificates: Sequence[Certificate]) -> tuple[Certificate, ...]:
    if not certificates:
        raise VerifyError("it has no certificate")
    if len(certificates) > LONGEST_CHAIN:
        raise VerifyError(f"{len(certificates)} certificates; at most {LONGEST_CHAIN} are read")
    for one in certificates:
        _read(lambda one=one: list(_touch(one)))  # type: ignore[misc]  # a lambda's default has no type
    return tuple(certificates)


def _touch(certificate: Certificate) -> Iterator[object]:
    """Yield the lazily parsed parts."""
    yield certificate.subject.rfc4514_string()
    yield certificate.issuer.rfc4514_string()
    yield certificate.not_valid_before_utc
    yield certificate.not_valid_after_utc
    yield list(certificate.extensions)


def _read(read: Callable[[], _T]) -> _T:
    """Return the result of *read*, which accesses a certificate.

    Raises:
        VerifyError: it cannot be read.
    """
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType

    problems = (
        ValueError, TypeError, OverflowError, InternalError, UnsupportedAlgorithm, DuplicateExtension, InvalidVersion,
        UnsupportedGeneralNameType, Warning,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # malformed encodings, which a later version of cryptography rejects
        try:
            return read()
        except problems as error:
            raise VerifyError(f"the certificate cannot be read: {error}") from error
