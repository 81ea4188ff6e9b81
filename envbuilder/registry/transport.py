"""HTTP with a registry, and with whom it leads to: answers of a bounded size, plain HTTP only where that is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx2

from envbuilder.config.certificates import trusted_certificates
from envbuilder.config.settings import Settings
from envbuilder.errors import StoreError
from envbuilder.registry.reference import is_loopback
from envbuilder.util.patience import Errand, Patience
from envbuilder.util.printable import printable_line
from envbuilder.util.text import human
from envbuilder.util.version import VERSION

CONNECT_SECONDS: Final = 10.0
MOST_ANSWER: Final = 32 * 2**20
"""Bytes of an answer that is read whole: a manifest has 4 MiB at most, a page of tags some hundred kilobytes."""
_MOST_REDIRECTS: Final = 10
_LONGEST_HOST: Final = 80
"""Characters of a host's name in an error."""


class _InTime(httpx2.SyncByteStream):
    """The body of an answer: each of its chunks may take the client's timeout, and all together have an end."""

    def __init__(self, stream: httpx2.SyncByteStream, patience: Patience) -> None:
        self._stream, self._patience = stream, patience

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            if not self._patience.left(received):
                raise self._patience.over(received)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class Transport:
    """Sends requests, and looks at each before it is sent. Thread-safe."""

    def __init__(self, host: str, place: str, settings: Settings) -> None:
        self.client = _open_client(settings, host)
        self.client.event_hooks = {"request": [self._check_request]}
        self.secure = False
        """Whether the registry has been reached by HTTPS: from then on nothing else is spoken."""
        self._host = host
        self._place = place
        self._settings = settings

    def patience(self) -> Patience:
        """Return the time that something may take which begins now."""
        return Patience(self._settings.timeout)

    def may_be_plain(self, host: str) -> bool:
        """Whether plain HTTP may be spoken with *host*."""
        return is_loopback(host) or host in self._settings.insecure_registries

    def _check_request(self, request: httpx2.Request) -> None:
        host = request.url.netloc.decode("ascii", "replace")
        if request.url.scheme not in ("http", "https"):
            raise StoreError(
                f"{self._place}: the registry redirects to {printable_line(str(request.url))[:100]!r}, "
                "which is not a valid address",
                hint="ask its owner",
            )
        if request.url.scheme == "https" or (not self.secure and self.may_be_plain(host)):
            return
        raise StoreError(
            f"{self._place}: the registry redirects to plain HTTP at {printable_line(host)[:100]}",
            hint="ask its owner"
            if self.secure
            else f'insecure-registry = ["{self._host}"] in envbuilder.toml allows that of one host only',
        )

    def send(self, request: httpx2.Request, *, follow: bool = True) -> httpx2.Response:
        """Return the answer, read whole; *follow* redirects of what only reads."""
        return self.whole(self.open(request, follow=follow and request.method in ("GET", "HEAD")))

    def whole(self, answer: httpx2.Response) -> httpx2.Response:
        """Return an answer whose body was not read yet with its body.

        Raises:
            StoreError: it goes on and on.
        """
        body = bytearray()
        try:
            for chunk in answer.iter_bytes() if answer.request.method != "HEAD" else ():
                body += chunk
                if len(body) > MOST_ANSWER:
                    raise StoreError(
                        f"{self._place}: the registry answers with more than {human(MOST_ANSWER)}",
                        hint="check that it is a registry",
                    )
        finally:
            answer.close()
        encoded = (b"content-encoding", b"content-length", b"transfer-encoding")
        return httpx2.Response(
            answer.status_code,
            headers=[(name, value) for name, value in answer.headers.raw if name.lower() not in encoded],
            content=bytes(body),
            request=answer.request,
            extensions=answer.extensions,
        )

    def open(self, request: httpx2.Request, *, follow: bool) -> httpx2.Response:
        """Return the answer before its body is read; a redirect's own body is never read."""
        for _ in range(_MOST_REDIRECTS):
            try:
                answer = self._begin(request)
            except UnicodeError as error:  # of a name that no host has, which the standard library encodes
                host = request.url.host[:_LONGEST_HOST]
                raise httpx2.UnsupportedProtocol(f"{printable_line(host)!r} is not a host name") from error
            if not follow or answer.next_request is None:
                return answer
            answer.close()
            request = answer.next_request  # without credentials, where that is another origin
        raise StoreError(f"{self._place}: the registry redirects too often", hint="ask its owner")

    def _begin(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer before its body is read, which then comes in time or ends in a ``TooSlowError``."""
        patience = self.patience()
        errand = Errand(
            lambda: self.client.send(request, stream=True, follow_redirects=False), httpx2.Response.close
        )
        answer = errand.result(patience)
        assert isinstance(answer.stream, httpx2.SyncByteStream)
        answer.stream = _InTime(answer.stream, patience)
        return answer


def _open_client(settings: Settings, host: str) -> httpx2.Client:
    trusted = host in settings.trusted_hosts or host.partition(":")[0] in settings.trusted_hosts
    seconds = settings.timeout
    options: dict[str, Any] = {"cert": str(settings.client_cert)} if settings.client_cert else {}
    return httpx2.Client(
        verify=False if trusted else trusted_certificates(settings),
        proxy=None if is_loopback(host) else settings.proxy,
        trust_env=not is_loopback(host),
        timeout=httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS), pool=None),
        headers={"User-Agent": f"envbuilder/{VERSION}"},
        **options,
    )
