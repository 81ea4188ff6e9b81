"""Where the bytes of a locked artifact may lie: a store elsewhere first, wheelhouses, then indexes, the nearest first.

Pages of indexes are read by unearth (PEP 503 and 691), its client brings credentials (of the URL, netrc, keyring)
and ``file://``. What is found is a place to try, never a proof: only the sha256 of the bytes is one.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import httpx2
from unearth.auth import MultiDomainBasicAuth
from unearth.collector import SUPPORTED_CONTENT_TYPES, IndexPage, parse_html_page, parse_json_response
from unearth.fetchers import PyPIClient
from unearth.link import Link

import envbuilder
from envbuilder.channels import Channel
from envbuilder.elsewhere.remote import RemoteStore
from envbuilder.errors import RecipeError, StoreError
from envbuilder.fetch.channels import find_in_channels
from envbuilder.fetch.places import Candidate
from envbuilder.lockfile import Artifact, CondaPackage
from envbuilder.settings import TORCH_FAMILY, Settings

CONNECT_SECONDS = 10.0
"""The longest wait for a connection, however patient the settings are with one that stands."""
CONNECT_RETRIES = 2
"""How often a host is tried again that takes no connection: most such hosts never will."""
RETRIES = 5
"""How often in a row something is tried again that may be over in a moment."""
BACKOFF_SECONDS = 0.5
"""The first pause; each further one is twice as long."""
logging.getLogger("unearth").addHandler(logging.NullHandler())  # our errors say what its warnings would
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class Unavailable(Exception):
    """A source does not answer as it should; its text says what it did instead."""

    def __init__(self, reason: str, *, retries: int = 0, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.retries = retries
        """How often it is worth another try: more than 0 where it may be over in a moment."""
        self.unreachable = unreachable
        """The host takes no connection."""


def open_client(settings: Settings, *, timeout: float | None = None) -> PyPIClient:
    """Return a client with the credentials, certificates and proxies that pip would use here.

    Raises:
        RecipeError: a certificate file holds no certificates.
    """
    verify: ssl.SSLContext | bool = True
    if settings.cert is not None:
        folder, path = settings.cert.is_dir(), str(settings.cert)
        try:
            verify = ssl.create_default_context(
                cafile=None if folder else path, capath=path if folder else None
            )
        except ssl.SSLError as error:
            raise RecipeError(f"{settings.cert} holds no certificates: {error}") from error
    seconds = settings.timeout if timeout is None else timeout
    client = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        verify=verify,
        cert=str(settings.client_cert) if settings.client_cert else None,
        timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS), pool=None),
        proxy=settings.proxy,
        follow_redirects=True,
        headers={"User-Agent": f"envbuilder/{envbuilder.__version__}"},
    )
    indexes = [settings.index_url, *settings.extra_index_urls, settings.pytorch_index, *settings.find_links]
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=[url for url in indexes if "://" in url])
    return client


def redacted(url: str) -> str:
    """Return *url* without credentials and fragment, as it may be shown."""
    return Link(url).redacted


def indexes_for(name: str, cuda: str, settings: Settings) -> list[str]:
    """List the indexes in which the project *name* is looked for, for the CUDA variant *cuda*.

    The torch family comes from PyTorch's index of the variant only, everything else from the package index only,
    so that no build falls back to another CUDA. Where the variant is ``pypi`` all of it is the package index's.
    """
    if settings.no_index:
        return []
    if cuda != "pypi" and name in TORCH_FAMILY:
        return [f"{settings.pytorch_index}/{cuda}"]
    indexes = [settings.index_url, *settings.extra_index_urls]
    return sorted(indexes, key=lambda url: urlsplit(url).scheme != "file")  # what is near costs nothing


@dataclass(kw_only=True, slots=True)
class Sources:
    """The sources of one run. Thread-safe."""

    client: PyPIClient
    settings: Settings
    cuda: str
    remote: RemoteStore | None = None
    channels: Sequence[Channel] = ()
    """Where conda packages are looked for."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the run is over: pauses end."""
    _pages: dict[str, list[Link]] = field(default_factory=dict)
    _unreachable: dict[str, Unavailable] = field(default_factory=dict)

    def find(self, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        """Yield the places that say they have *artifact*, the nearest first.

        Each source that has none adds a line to *absent*, naming itself and saying why.
        """
        if self.remote is not None:
            yield from self._in_store(self.remote, artifact, absent)
        for location in self.settings.find_links:
            yield from self._in_wheelhouse(location, artifact, absent)
        if isinstance(artifact, CondaPackage):
            yield from find_in_channels(artifact, self.channels, absent)
            return
        for index in indexes_for(artifact.name, self.cuda, self.settings):
            url = f"{index}/{artifact.name}/"
            yield from self._on_page(url, artifact, absent)

    def _in_store(self, remote: RemoteStore, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        place = remote.place("artifacts", artifact.sha256)
        try:
            there = remote.holds("artifacts", artifact.sha256)
        except StoreError as error:
            absent.append(error.message)
            return
        if not there:
            absent.append(f"{place}: not there")
            return
        yield Candidate(place=place, read=lambda: _from_store(remote, artifact))

    def _in_wheelhouse(self, location: str, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        parts = urlsplit(location)
        if parts.scheme in ("http", "https"):
            yield from self._on_page(location, artifact, absent)
            return
        path = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(location)
        if path.suffix in (".html", ".htm"):
            yield from self._on_page(path.absolute().as_uri(), artifact, absent)
            return
        # A file saved from PyTorch's index is often named as it is in the URL, with %2B for +.
        names = dict.fromkeys((artifact.filename, quote(artifact.filename)))
        files = [path] if path.name in names else [path / name for name in names]
        there = [file for file in files if os.path.isfile(file)]  # False, too, where it may not be seen
        if not there:
            absent.append(f"{path}: {'not there' if path.is_dir() else 'no such folder'}")
        yield from (Candidate(place=str(file), path=file) for file in there)

    def _on_page(self, url: str, artifact: Artifact, absent: list[str]) -> Iterator[Candidate]:
        try:
            links = [link for link in self._links(url) if link.filename == artifact.filename]
        except Unavailable as error:
            absent.append(f"{redacted(url)}: {error}")
            return
        if not links:
            absent.append(f"{redacted(url)}: not there")
        for link in links:
            yield Candidate(
                place=str(link.file_path) if link.is_file else link.redacted,
                path=link.file_path if link.is_file else None,
                url="" if link.is_file else link.url_without_fragment,
                sha256=(link.hash_option or {}).get("sha256", [None])[0],
            )

    def _links(self, url: str) -> list[Link]:
        if url in self._pages:
            return self._pages[url]
        host = urlsplit(url).netloc
        if host in self._unreachable:  # one wait is enough for all that it might have had
            raise self._unreachable[host]
        failures = 0
        while True:
            try:
                self._pages[url] = read_page(self.client, url)
                return self._pages[url]
            except Unavailable as error:
                if failures >= error.retries:
                    if error.unreachable:
                        self._unreachable[host] = error
                    raise
            self.pause(failures)
            failures += 1

    def pause(self, failures: int) -> None:
        """Wait before the next try, the longer the more *failures* there were.

        Raises:
            Unavailable: the run is over meanwhile.
        """
        if self.stop.wait(BACKOFF_SECONDS * 2**failures):
            raise Unavailable("stopped")


def _from_store(remote: RemoteStore, artifact: Artifact) -> Iterator[bytes]:
    try:
        yield from remote.read("artifacts", artifact.sha256)
    except StoreError as error:
        raise Unavailable(error.message) from error


def read_page(client: PyPIClient, url: str) -> list[Link]:
    """Return the links of one page of an index.

    Raises:
        Unavailable: the page cannot be had; its text says why.
    """
    address = url
    if urlsplit(url).scheme == "file" and url.endswith("/"):
        address = f"{url}index.html"
    try:
        response = client.get(address, headers={"Accept": _ACCEPT})
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise reason(error) from error
    check_status(response)
    content_type = response.headers.get("Content-Type", "")
    if not content_type.lower().startswith(SUPPORTED_CONTENT_TYPES):
        raise Unavailable(f"answered with {content_type or 'no content type'}, not with the page of an index")
    page = IndexPage(Link(str(response.url)), response.content, response.encoding, content_type)
    parse: Callable[[IndexPage], Iterable[Link]] = (
        parse_json_response if "+json" in content_type.lower() else parse_html_page
    )
    try:
        return list(parse(page))
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # whatever a broken page breaks
        raise Unavailable(f"the page cannot be read: {error}") from error


def check_status(response: httpx2.Response) -> None:
    """Accept an answer, or say in words what it is instead.

    Raises:
        Unavailable: it is no success.
    """
    code = response.status_code
    if code in (200, 206):
        return
    if code in (401, 403, 407):
        raise Unavailable(f"answered {code}: it wants other credentials")
    if code in (404, 410):
        raise Unavailable("not there")
    passing = code >= 500 or code in (408, 416, 425, 429)
    raise Unavailable(f"answered {code} {response.reason_phrase}".rstrip(), retries=RETRIES if passing else 0)


def reason(error: Exception) -> Unavailable:
    """Say why there was no answer, and whether another try is worth it."""
    text = str(error) or type(error).__name__
    if isinstance(error, httpx2.UnsupportedProtocol) or "CERTIFICATE_VERIFY_FAILED" in text:
        return Unavailable(text)
    if isinstance(error, httpx2.ConnectTimeout):
        return Unavailable("no connection in time", retries=CONNECT_RETRIES, unreachable=True)
    if isinstance(error, httpx2.ConnectError):
        return Unavailable(text, retries=CONNECT_RETRIES, unreachable=True)
    if isinstance(error, httpx2.TimeoutException):
        return Unavailable("no answer in time", retries=RETRIES)
    return Unavailable(text, retries=RETRIES if isinstance(error, httpx2.TransportError) else 0)
