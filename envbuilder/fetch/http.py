"""HTTP to package indexes: the client, its retries, and the meaning of responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2
from unearth.auth import MultiDomainBasicAuth
from unearth.collector import SUPPORTED_CONTENT_TYPES, IndexPage, parse_html_page, parse_json_response
from unearth.fetchers import PyPIClient
from unearth.link import Link

from envbuilder.config.certificates import trusted_certificates
from envbuilder.config.settings import Settings
from envbuilder.fetch.stream import PAGE, TooLargeError, open_stream, read_body
from envbuilder.util.documents import LISTING, DocumentError, parse_json
from envbuilder.util.files import read_regular
from envbuilder.util.patience import TooSlowError
from envbuilder.util.text import human
from envbuilder.util.version import VERSION

CONNECT_SECONDS = 10.0
"""Timeout for connecting, in seconds, even if the settings have a longer timeout."""


CONNECT_RETRIES = 2
"""Retries for a host that accepts no connection, which most such hosts never will."""


RETRIES = 5
"""Retries in a row of temporary failures."""


_MOST_TAGS = 500_000
"""Most tags of a page: each file of a project is a link, and the largest projects have a hundred thousand."""
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


CLOSED = (401, 403, 407)
"""Status codes of denied access."""


class _NoFiles(httpx2.BaseTransport):
    """Replaces unearth's transport for ``file:``, to which a server could redirect: files are not read through it."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.UnsupportedProtocol(f"redirected to a file of this machine: {request.url.path}")


class Unavailable(Exception):
    """A source failed; the text says how."""

    def __init__(
        self, reason: str, *, retries: int = 0, unreachable: bool = False, status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        """The status code, if there was a response."""
        self.retries = retries
        """How many retries are useful; more than 0 for temporary failures."""
        self.unreachable = unreachable
        """Whether the host accepts no connection."""


def open_client(settings: Settings, *, timeout: float | None = None) -> PyPIClient:
    """Return a client with the credentials, certificates and proxies that pip would use here.

    Raises:
        RecipeError: a certificate file holds no certificates.
    """
    verify = trusted_certificates(settings)
    seconds = settings.timeout if timeout is None else timeout
    client = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        verify=verify,
        cert=str(settings.client_cert) if settings.client_cert else None,
        timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS), pool=None),
        proxy=settings.proxy,
        follow_redirects=True,
        mounts={"file://": _NoFiles()},
        headers={"User-Agent": f"envbuilder/{VERSION}"},
    )
    indexes = [settings.index_url, *settings.extra_index_urls, settings.pytorch_index, *settings.find_links]
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=[url for url in indexes if "://" in url])
    return client


def read_page(client: PyPIClient, url: str) -> list[Link]:
    """Return the links of one page of an index.

    Raises:
        Unavailable: the page cannot be downloaded; its text says why.
    """
    if urlsplit(url).scheme == "file":
        return _read_local_page(f"{url}index.html" if url.endswith("/") else url)
    try:
        with open_stream(client, url, {"Accept": _ACCEPT, "Accept-Encoding": "gzip"}) as stream:
            response = stream.response
            check_status(response)
            body = read_body(stream, PAGE)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise reason(error) from error
    content_type = response.headers.get("Content-Type", "")
    if not content_type.lower().startswith(SUPPORTED_CONTENT_TYPES):
        raise Unavailable(f"answered with {content_type or 'no content type'}, not with the page of an index")
    return parse_page(IndexPage(Link(str(response.url)), body, response.charset_encoding, content_type))


def check_url(client: PyPIClient, url: str) -> None:
    """Check that a file is available, without reading its content.

    Raises:
        Unavailable: it is not; its text says why.
    """
    try:
        with open_stream(client, url, {"Range": "bytes=0-0"}) as stream:
            check_status(stream.response)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise reason(error) from error


def _read_local_page(url: str) -> list[Link]:
    path = Path(url2pathname(urlsplit(url).path))
    try:
        body = read_regular(path, most=PAGE + 1)
    except FileNotFoundError:
        raise Unavailable("not found") from None
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from error
    if len(body) > PAGE:
        raise Unavailable(f"larger than {human(PAGE)}, which no page is")
    return parse_page(IndexPage(Link(url), body, None, "text/html"))


def parse_page(page: IndexPage) -> list[Link]:
    """Return the links of a page.

    Raises:
        Unavailable: it is invalid, or has too many tags; its text says why.
    """
    is_json = "+json" in page.content_type.lower()
    if is_json:
        _check_json_page(page.content)
    elif page.content.count(b"<") > _MOST_TAGS:
        raise Unavailable(f"the page has more than {_MOST_TAGS:,} tags, as no index has")
    parse: Callable[[IndexPage], Iterable[Link]] = parse_json_response if is_json else parse_html_page
    try:
        return list(parse(page))
    # A broken page may cause any error.
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError, AssertionError) as error:
        raise Unavailable(f"the page cannot be read: {error}") from error


def _check_json_page(content: bytes) -> None:
    """Validate a JSON page (PEP 691), which unearth does not."""
    try:
        for file in parse_json(content, where="page", cap=LISTING).records("files"):
            file.text("filename")
            file.text("url", longest=100_000)
            if "hashes" in file:
                file.text_map("hashes")
            if "requires-python" in file:
                file.free_text("requires-python")
            if "yanked" in file and not isinstance(file.value["yanked"], bool):
                file.free_text("yanked")
    except DocumentError as error:
        where = f"{error.path}: " if error.path else ""
        raise Unavailable(f"the page cannot be read: {where}{error.reason}") from error


def check_status(response: httpx2.Response) -> None:
    """Check the status of a response.

    Raises:
        Unavailable: it is not a success.
    """
    code = response.status_code
    if code in (200, 206):
        return
    if code in CLOSED:
        raise Unavailable(f"answered {code}: it wants other credentials", status=code)
    if code in (404, 410):
        raise Unavailable("not found", status=code)
    passing = code >= 500 or code in (408, 416, 425, 429)
    raise Unavailable(
        f"answered {code} {response.reason_phrase}".rstrip(), retries=RETRIES if passing else 0, status=code
    )


def reason(error: Exception) -> Unavailable:
    """Return why there was no response, and whether a retry is useful."""
    text = str(error) or type(error).__name__
    if (
        isinstance(error, (TooSlowError, TooLargeError, httpx2.UnsupportedProtocol))
        or "CERTIFICATE_VERIFY_FAILED" in text
    ):
        return Unavailable(text)
    if isinstance(error, httpx2.ConnectTimeout):
        return Unavailable("no connection in time", retries=CONNECT_RETRIES, unreachable=True)
    if isinstance(error, httpx2.ConnectError):
        return Unavailable(text, retries=CONNECT_RETRIES, unreachable=True)
    if isinstance(error, httpx2.TimeoutException):
        return Unavailable("no answer in time", retries=RETRIES)
    return Unavailable(text, retries=RETRIES if isinstance(error, httpx2.TransportError) else 0)
