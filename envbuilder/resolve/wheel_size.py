"""The size of a wheel if its index does not give it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.fetch.http import open_client
from envbuilder.fetch.stream import open_stream
from envbuilder.util.urls import redacted


def size_of(url: str, settings: Settings) -> int:
    """Return the size of the file at *url* in bytes: PyTorch's index does not say it."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Path(url2pathname(parts.path)).stat().st_size
    try:
        # Not HEAD, which not every index knows: the body is left where it is.
        with (
            open_client(settings) as client,
            open_stream(client, url, {"Accept-Encoding": "identity"}) as stream,
        ):
            stream.response.raise_for_status()
            return int(stream.response.headers["Content-Length"])
    except (httpx2.HTTPError, KeyError, ValueError) as error:
        raise ResolveError(f"{redacted(url)}: its size cannot be determined: {error}") from error
