"""Trusted times of signing: RFC 3161 timestamps over the signature."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from envbuilder.errors import RecipeError, VerifyError
from envbuilder.signing.certificates import signer_name
from envbuilder.signing.keys import EXTRA
from envbuilder.util import clock
from envbuilder.util.extras import needs_extra

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MOST_TIMESTAMPS: Final = 4
"""Largest number of timestamps of one signature; each costs the verification of a chain."""
TIMESTAMP_BYTES: Final = 64 * 2**10
"""Largest size of a timestamp; with certificates one has about 5 kB."""
REQUEST_TYPE: Final = "application/timestamp-query"

Stamp = Callable[[bytes], bytes]
"""Takes a signature and returns a timestamp of it."""


def signing_time(
    timestamps: Sequence[bytes], signature: bytes, authorities: Sequence[Certificate]
) -> datetime.datetime:
    """Return the time in the first of the *timestamps* of *signature* that one of *authorities* issued.

    Raises:
        VerifyError: there is no such timestamp; the message gives the reason for each.
        RecipeError: ``rfc3161-client`` is not installed.
    """
    reasons = []
    for one in timestamps:
        try:
            return _check(one, signature, authorities)
        except VerifyError as error:
            reasons.append(error.message)
    names = ", ".join(signer_name(one) for one in authorities)
    raise VerifyError("; ".join(reasons) or f"it has no timestamp; expected one of {names}")


def _check(timestamp: bytes, signature: bytes, authorities: Sequence[Certificate]) -> datetime.datetime:
    with needs_extra(EXTRA, "a timestamp authority"):
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    try:
        response = decode_timestamp_response(timestamp)
        made: datetime.datetime = response.tst_info.gen_time
        VerifierBuilder(roots=list(authorities)).build().verify_message(response, signature)
    except VerificationError as error:
        raise VerifyError(f"its timestamp is not valid: {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise VerifyError(f"its timestamp cannot be read: {error}") from error
    if made > clock.now():
        raise VerifyError(f"its timestamp is of {made:%Y-%m-%d %H:%M} UTC, in the future")
    return made


def timestamp_request(signature: bytes) -> bytes:
    """Return the request to an authority, to be sent as :data:`REQUEST_TYPE`.

    Raises:
        RecipeError: ``rfc3161-client`` is not installed.
    """
    with needs_extra(EXTRA, "a timestamp"):
        from rfc3161_client import TimestampRequestBuilder
    request: bytes = TimestampRequestBuilder().data(signature).build().as_bytes()
    return request


def check_granted(answer: bytes, origin: str) -> bytes:
    """Return the timestamp in the *answer* of the authority at *origin*.

    Raises:
        RecipeError: the answer is invalid, or the request was rejected.
    """
    from rfc3161_client import decode_timestamp_response

    try:
        status = decode_timestamp_response(answer).status
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{origin} did not return a timestamp: {error}") from error
    if status not in (0, 1):  # granted, granted with changes: RFC 3161, section 2.4.2
        raise RecipeError(f"{origin} rejected the request for a timestamp: status {status}")
    return answer
