"""Responses of servers with limits on time and size, whatever a server sends.

A thread reads, and the waiting one checks the time.
"""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx2
from unearth.fetchers import PyPIClient

from envbuilder.util.patience import Patience
from envbuilder.util.text import human

PAGE: Final = 32 * 2**20
"""Largest page of an index, decompressed, in bytes: PyPI's longest have some 20 MB, and six are read at a time."""
_AHEAD: Final = 16
"""Chunks that reading may be ahead: bounds the memory."""
_POLL_SECONDS: Final = 0.5
"""Interval at which an abandoned thread checks for that, in seconds."""


class TooLargeError(httpx2.HTTPError):
    """A server sends more than the limit."""


class Stream:
    """A response that is being received."""

    def __init__(
        self, client: PyPIClient, url: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> None:
        self._arrived: queue.Queue[httpx2.Response | bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._given_up = threading.Event()
        self._patience = Patience(client.timeout.read)
        self._received = 0
        thread = threading.Thread(target=self._read, args=(client, url, headers, content), daemon=True)
        thread.start()
        head = self._next()
        assert isinstance(head, httpx2.Response)
        self.response = head
        """Status and headers; of the body, :meth:`chunks` knows."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it was sent.

        Raises:
            httpx2.HTTPError: it fails, or is too slow.
        """
        while (chunk := self._next()) is not None:
            assert isinstance(chunk, bytes)
            self._received += len(chunk)
            yield chunk

    def close(self) -> None:
        """Abandon the rest of it."""
        self._given_up.set()

    def _next(self) -> httpx2.Response | bytes | None:
        try:
            found = self._arrived.get(timeout=self._patience.left(self._received))
        except queue.Empty:
            raise self._patience.over(self._received) from None
        if isinstance(found, BaseException):
            raise found
        return found

    def _read(self, client: PyPIClient, url: str, headers: Mapping[str, str], content: bytes | None) -> None:
        method = "GET" if content is None else "POST"
        try:
            with client.stream(method, url, headers=headers, content=content) as response:
                if not self._put(response):
                    return
                for chunk in response.iter_raw():
                    if not self._put(chunk):
                        return
            self._put(None)
        except UnicodeError as error:  # of a name that no host has, which the standard library encodes
            self._put(httpx2.UnsupportedProtocol(f"the address has no valid host name: {error}"))
        except BaseException as error:  # raised again in the waiting thread
            self._put(error)

    def _put(self, found: httpx2.Response | bytes | BaseException | None) -> bool:
        """Pass on an item; return whether the reader still waits."""
        while not self._given_up.is_set():
            try:
                self._arrived.put(found, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False


@contextmanager
def open_stream(
    client: PyPIClient, url: str, headers: Mapping[str, str], *, content: bytes | None = None
) -> Iterator[Stream]:
    """Request *url*, and yield the response once its headers are there; *content* is posted.

    Raises:
        httpx2.HTTPError, httpx2.InvalidURL: it fails, or is too slow.
    """
    stream = Stream(client, url, headers, content)
    try:
        yield stream
    finally:
        stream.close()


def read_body(stream: Stream, most: int) -> bytes:
    """Return the whole body, decompressed if it is gzip.

    Raises:
        TooLargeError: it is larger than *most*.
        httpx2.HTTPError: it fails, or has another encoding.
    """
    encoding = stream.response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise httpx2.DecodingError(f"answered in the encoding {encoding!r}, which it was not asked for")
    unpack = zlib.decompressobj(31) if encoding == "gzip" else None
    body = bytearray()
    for chunk in stream.chunks():
        left = most + 1 - len(body)
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, left)
        except zlib.error as error:
            raise httpx2.DecodingError(f"answered with damaged gzip: {error}") from error
        if len(body) > most:
            raise TooLargeError(f"larger than {human(most)}, which no such answer is")
    return bytes(body)
