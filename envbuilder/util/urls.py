"""URLs as they may be shown: without credentials."""

from __future__ import annotations

import re

from unearth.link import Link


def redacted(url: str) -> str:
    """Return *url* without credentials and fragment, as it may be shown."""
    return Link(url).redacted


def public(url: str) -> str:
    """Return *url* without credentials: no user, no token (``/t/<token>/``)."""
    url = re.sub(r"//[^/@]*@", "//", url)
    return re.sub(r"/t/[^/]+/", "/", url)
