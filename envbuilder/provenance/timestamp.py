"""Request a timestamp of a signature from an authority (RFC 3161 over HTTP, its section 3.4)."""

from __future__ import annotations

import httpx2

from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError
from envbuilder.fetch.http import Unavailable, check_status, open_client, reason
from envbuilder.fetch.stream import open_stream, read_body
from envbuilder.signing.timestamps import REQUEST_TYPE, TIMESTAMP_BYTES, check_granted, timestamp_request
from envbuilder.util.urls import public


def ask_authority(url: str, signature: bytes, settings: Settings) -> bytes:
    """Return a timestamp of *signature* from the authority at *url*, reached with *settings*.

    Raises:
        RecipeError: it does not return one, or ``rfc3161-client`` is not installed.
    """
    request = timestamp_request(signature)
    try:
        with (
            open_client(settings) as client,
            open_stream(client, url, {"Content-Type": REQUEST_TYPE}, content=request) as stream,
        ):
            check_status(stream.response)
            answer = read_body(stream, TIMESTAMP_BYTES)
    except Unavailable as error:
        raise _none(url, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise _none(url, reason(error)) from error
    return check_granted(answer, public(url))


def _none(url: str, error: Exception) -> RecipeError:
    return RecipeError(f"the timestamp authority {public(url)} does not answer: {error}")
