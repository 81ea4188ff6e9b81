"""When something was signed, as somebody else than the signer says: timestamps of RFC 3161, over the signature."""

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
"""Of one signature: each costs the verification of a chain."""
TIMESTAMP_BYTES: Final = 64 * 2**10
"""Of a timestamp: with the certificates in it 5 kB."""
REQUEST_TYPE: Final = "application/timestamp-query"

Stamp = Callable[[bytes], bytes]
"""Takes a signature, and returns a timestamp of it."""


def signing_time(
    timestamps: Sequence[bytes], signature: bytes, authorities: Sequence[Certificate]
) -> datetime.datetime:
    """Return when *signature* was there, by the first of its *timestamps* that one of *authorities* made.

    Raises:
        VerifyError: none of them is such a one; for each it says why.
        RecipeError: ``rfc3161-client`` is not installed.
    """
    reasons = []
    for one in timestamps:
        try:
            return _check(one, signature, authorities)
        except VerifyError as error:
            reasons.append(error.message)
    names = ", ".join(signer_name(one) for one in authorities)
    raise VerifyError("; ".join(reasons) or f"it has no timestamp, of {names} or any other")


def _check(timestamp: bytes, signature: bytes, authorities: Sequence[Certificate]) -> datetime.datetime:
    with needs_extra(EXTRA, "a timestamp authority"):
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    try:
        response = decode_timestamp_response(timestamp)
        made: datetime.datetime = response.tst_info.gen_time
        VerifierBuilder(roots=list(authorities)).build().verify_message(response, signature)
    except VerificationError as error:
        raise VerifyError(f"its timestamp does not count: {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise VerifyError(f"its timestamp cannot be read: {error}") from error
    if made > clock.now():
        raise VerifyError(f"its timestamp is of {made:%Y-%m-%d %H:%M} UTC, which is to come")
    return made


def timestamp_request(signature: bytes) -> bytes:
    """Return what is asked of an authority, to be sent as :data:`REQUEST_TYPE`.

    Raises:
        RecipeError: ``rfc3161-client`` is not installed.
    """
    with needs_extra(EXTRA, "a timestamp"):
        from rfc3161_client import TimestampRequestBuilder
    request: bytes = TimestampRequestBuilder().data(signature).build().as_bytes()
    return request


def check_granted(answer: bytes, origin: str) -> bytes:
    """Return the *answer* of the authority at *origin*, where it is a timestamp.

    Raises:
        RecipeError: it is none, or was refused.
    """
    from rfc3161_client import decode_timestamp_response

    try:
        status = decode_timestamp_response(answer).status
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{origin} does not answer with a timestamp: {error}") from error
    if status not in (0, 1):  # granted, granted with changes: RFC 3161, section 2.4.2
        raise RecipeError(f"{origin} refuses a timestamp: status {status}")
    return answer
