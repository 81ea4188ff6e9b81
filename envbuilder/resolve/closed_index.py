"""Find indexes that deny access: uv treats a page that it may not read as missing.

uv says so in words that change with its releases, and not at all where it runs quietly. So the sources are asked
again, with the client that fetches, and the status of each answer is what counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from unearth.fetchers import PyPIClient

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.fetch.http import CLOSED, Unavailable, check_url, open_client, read_page
from envbuilder.resolve.solver import Index
from envbuilder.util.urls import public, redacted

# uv says why it refuses in words only: `--format` is that of a resolution, and there is none. What is read out of them
# are no more than further pages to ask for, of what packages require and of files elsewhere: should the words change,
# the projects that the recipe names are still asked for, and what each page answers decides.
_ADDRESS: Final = re.compile(r"https?://[^\s`'\"()<>]+")
_NOT_FOUND: Final = re.compile(r"([a-z0-9-]+) was not found in the package registry")
_MOST: Final = 64
"""Pages of one index that are asked for."""
_GIVEN: Final = (
    "check the user and the password in its URL: escape special characters, as %40 for @ or %2F for /"
)
_MISSING: Final = "add a user and a password to the index's URL, or put them into .netrc"


def find_closed(
    asked: Mapping[Index, Iterable[str]], refusal: str, settings: Settings
) -> ResolveError | None:
    """Return what to say of a source that refuses the credentials, or the lack of them; None: none does.

    *asked* are the projects that each index was asked for; *refusal* is what the solver said: files that it names, and
    projects that it did not find, are asked for too.
    """
    missing = _NOT_FOUND.findall(refusal)
    deaf: set[str] = set()
    with open_client(settings) as client:
        for index, names in asked.items():
            if index.flat or urlsplit(index.url).scheme not in ("http", "https"):
                continue
            said = _closed(client, index.url, list(dict.fromkeys([*missing, *names]))[:_MOST])
            if said is not None and said.status is None:
                deaf.add(_host(index.url))
                continue
            if said is not None:
                return _refused(index.url, said)
        for url in dict.fromkeys(_ADDRESS.findall(refusal)):
            if _host(url) in deaf:
                continue
            try:
                check_url(client, public(url.rstrip(".,:")))
            except Unavailable as error:
                if error.status in CLOSED:
                    return _refused(url, error)
    return None


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _closed(client: PyPIClient, index: str, names: Iterable[str]) -> Unavailable | None:
    """Return how an index refuses, or that it does not answer at all; None: it does neither."""
    forbidden, open_pages = None, 0
    for name in names:
        try:
            read_page(client, f"{index}/{name}/")
            open_pages += 1
        except Unavailable as error:
            if error.status in (401, 407):
                return error
            if error.status == 403:
                forbidden = error
            elif error.status is None:
                return error  # out of reach: another page would be, too
    # An object store answers 403 for a page that it does not have: that is no matter of credentials.
    return forbidden if not open_pages else None


def _refused(url: str, error: Unavailable) -> ResolveError:
    given = "@" in urlsplit(url).netloc
    return ResolveError(f"{redacted(url)}: {error}", hint=_GIVEN if given else _MISSING)
