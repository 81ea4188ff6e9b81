"""Servers that answer otherwise than an index does: each ends in a word for why, in bounded time and memory."""

from __future__ import annotations

import gzip
import re
import socket
import time
import tracemalloc

import pytest

from envbuilder.config.settings import Settings
from envbuilder.fetch.http import Unavailable, open_client, read_page
from tests.fetch.conftest import Answer, serving

HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


def _send(*parts: bytes) -> Answer:
    return lambda client, _: client.sendall(b"".join(parts))


def _for_ever(head: bytes, part: bytes, pause: float = 0.0) -> Answer:
    def answer(client: socket.socket, _: str) -> None:
        client.sendall(head)
        while True:
            client.sendall(part)
            time.sleep(pause)

    return answer


def _redirect(where: str) -> Answer:
    def answer(client: socket.socket, url: str) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: {where.format(url=url)}\r\nConnection: close\r\n"
        client.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())

    return answer


_ZEROS = gzip.compress(b"\0" * 100_000_000)
SERVERS: dict[str, tuple[Answer, str]] = {
    "drips": (_for_ever(HTML + b"\r\n", b"<", 0.05), r"too slow: \d+ B in 1 s"),
    "drips headers": (_for_ever(b"HTTP/1.1 200 OK\r\n", b"x", 0.05), "too slow: 0 B in 1 s"),
    "never ends": (
        _for_ever(HTML + b"\r\n", b"<a href=x>" * 10_000),
        "larger than 33.6 MB, which no such answer is",
    ),
    "never ends its headers": (
        _for_ever(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
        "Receive buffer too long",
    ),
    "redirects in a circle": (_redirect("{url}/x/"), "Exceeded maximum allowed redirects."),
    "redirects to a file": (
        _redirect("file:///etc/passwd"),
        "redirected to a file of this machine: /etc/passwd",
    ),
    "redirects to a device": (
        _redirect("file:///dev/zero"),
        "redirected to a file of this machine: /dev/zero",
    ),
    "redirects to another scheme": (_redirect("gopher://x/"), ".*unsupported protocol.*"),
    "redirects to a name that no host has": (
        _redirect(f"http://{'a' * 64}/"),
        "the address has no valid host name: .*",
    ),
    "redirects to nothing": (_redirect("http://[/"), ".+"),
    "says too much": (_send(HTML, b"Content-Length: 1000\r\n\r\nabc"), "peer closed connection .*"),
    "says less than nothing": (_send(HTML, b"Content-Length: -5\r\n\r\nabc"), "bad Content-Length"),
    "says two lengths": (
        _send(HTML, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"),
        ".*Content-Length.*",
    ),
    "says a length of 20 digits": (
        _send(HTML, b"Content-Length: ", b"9" * 20, b"\r\n\r\nabc"),
        "peer closed .*",
    ),
    "chunks of 2^64": (
        _send(HTML, b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nabc"),
        "peer closed .*",
    ),
    "chunks that are none": (
        _send(HTML, b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
        "illegal chunk header: .*",
    ),
    "a bomb": (
        _send(HTML, b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_ZEROS), _ZEROS),
        "larger than 33.6 MB, which no such answer is",
    ),
    "gzip that is none": (
        _send(HTML, b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
        "answered with damaged gzip: .*",
    ),
    "brotli": (
        _send(HTML, b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc"),
        "answered in the encoding 'br', which it was not asked for",
    ),
    "says nothing": (lambda client, _: time.sleep(3), "no answer in time"),
    "goes away": (_send(), "Server disconnected without sending a response."),
    "speaks another language": (_send(b"220 mail ESMTP\r\n\r\n"), ".*illegal status line.*"),
    "another kind of page": (
        _send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc"),
        "answered with image/png, not with the page of an index",
    ),
    "a page of a million tags": (
        _send(HTML, b"Content-Length: 3000000\r\n\r\n", b"<a>" * 10**6),
        "the page has more than 500,000 tags, as no index has",
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_passed_over_with_its_reason(name: str) -> None:
    answer, said = SERVERS[name]
    # What is silent is given up after a timeout, what is slow after four.
    settings = Settings(timeout=2.0 if name in ("a bomb", "never ends", "redirects in a circle") else 0.3)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with serving(answer) as url, open_client(settings) as client, pytest.raises(Unavailable) as caught:
            read_page(client, f"{url}/simple/x/")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert re.fullmatch(said, str(caught.value)), str(caught.value)
    assert time.monotonic() - began < 10
    assert peak < 150 * 2**20
