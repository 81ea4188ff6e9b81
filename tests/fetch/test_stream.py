"""One answer of a server: its headers first, then its body, in time and within a size."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from envbuilder.config.settings import Settings
from envbuilder.fetch.http import open_client
from envbuilder.fetch.stream import Stream, TooLargeError, open_stream, read_body
from envbuilder.util.patience import TooSlowError
from tests.fetch.conftest import Answer, serving

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def asking(answer: Answer, timeout: float = 5.0) -> Iterator[Stream]:
    with (
        serving(answer) as url,
        open_client(Settings(timeout=timeout)) as client,
        open_stream(client, f"{url}/x", {}) as stream,
    ):
        yield stream


def sized(body: bytes, *headers: bytes) -> Answer:
    head = OK + b"".join(header + b"\r\n" for header in headers)
    data = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return lambda client, _: client.sendall(data)


def test_headers_are_there_before_the_body() -> None:
    go_on = threading.Event()

    def answer(client: socket.socket, _: str) -> None:
        client.sendall(OK + b"Content-Length: 3\r\nX-Told: it\r\n\r\n")
        assert go_on.wait(5)
        client.sendall(b"abc")

    with asking(answer) as stream:
        assert (stream.response.status_code, stream.response.headers["X-Told"]) == (200, "it")
        go_on.set()
        assert b"".join(stream.chunks()) == b"abc"


def test_a_body_comes_as_it_was_sent_and_is_unpacked_where_it_is_read_whole() -> None:
    packed = gzip.compress(b"text" * 1000)
    with asking(sized(packed, b"Content-Encoding: gzip")) as stream:
        assert read_body(stream, 4000) == b"text" * 1000
    with asking(sized(packed, b"Content-Encoding: gzip")) as stream:
        assert b"".join(stream.chunks()) == packed


def test_a_body_of_just_the_size_that_is_allowed() -> None:
    with asking(sized(b"x" * 5000)) as stream:
        assert read_body(stream, 5000) == b"x" * 5000
    for body, headers in ((b"x" * 5001, ()), (gzip.compress(b"x" * 5001), (b"Content-Encoding: gzip",))):
        with (
            asking(sized(body, *headers)) as stream,
            pytest.raises(TooLargeError, match=r"^larger than 5\.0 kB, which no such answer is$"),
        ):
            read_body(stream, 5000)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [(b"br", r"answered in the encoding 'br', which it was not asked for"), (b"gzip", "damaged gzip")],
)
def test_an_encoding_that_cannot_be_read(encoding: bytes, said: str) -> None:
    with (
        asking(sized(b"not packed", b"Content-Encoding: " + encoding)) as stream,
        pytest.raises(httpx2.DecodingError, match=said),
    ):
        read_body(stream, 5000)


class Echo(BaseHTTPRequestHandler):
    """Answers what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["X-Asked"].encode() + b": " + body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_content_is_posted_with_the_headers() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with (
                open_client(Settings()) as client,
                open_stream(
                    client,
                    f"http://127.0.0.1:{server.server_port}/x",
                    {"X-Asked": "yes"},
                    content=b"the content",
                ) as stream,
            ):
                assert read_body(stream, 100) == b"yes: the content"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_sends_no_body_is_too_slow_and_one_that_leaves_is_an_error() -> None:
    head = OK + b"Content-Length: 1000\r\n\r\n"

    def silent(client: socket.socket, _: str) -> None:
        client.sendall(head)
        client.recv(1)  # until it is left alone

    with asking(silent, timeout=0.1) as stream, pytest.raises((TooSlowError, httpx2.ReadTimeout)):
        list(stream.chunks())
    with asking(lambda client, _: client.sendall(head)) as stream, pytest.raises(httpx2.RemoteProtocolError):
        list(stream.chunks())


def test_a_host_that_no_name_can_be_is_said_in_words() -> None:
    with (
        open_client(Settings()) as client,
        pytest.raises(httpx2.UnsupportedProtocol, match="no valid host name"),
        open_stream(client, f"http://{'a' * 64}/", {}),
    ):
        pass


def test_a_stream_that_is_left_early_stops_reading() -> None:
    def endless(client: socket.socket, _: str) -> None:
        client.sendall(OK + b"Content-Length: 1000000000\r\n\r\n")
        while True:
            client.sendall(bytes(2**16))

    with serving(endless) as url, open_client(Settings()) as client:
        before = set(threading.enumerate())
        with open_stream(client, f"{url}/x", {}) as stream:
            assert next(stream.chunks())
        until = time.monotonic() + 20
        while set(threading.enumerate()) - before and time.monotonic() < until:
            time.sleep(0.01)
        assert set(threading.enumerate()) - before == set()
