"""Remove credentials from URLs."""

from __future__ import annotations

import re


def redacted(url: str) -> str:
    """Return *url* without credentials and fragment, as it may be shown."""
    from unearth.link import Link  # imports a client of indexes, which most commands do without

    return Link(url).redacted


def public(url: str) -> str:
    """Return *url* without credentials: no user, no token (``/t/<token>/``)."""
    url = re.sub(r"//[^/@]*@", "//", url)
    return re.sub(r"/t/[^/]+/", "/", url)
