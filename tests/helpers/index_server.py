"""A package index on the loopback that can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import ssl
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

CERTIFICATE = Path(__file__).parent / "index_localhost.pem"


@dataclass
class Trouble:
    """What a server does instead of answering one request as it should."""

    status: int | None = None
    """Answer with this status and no file."""
    break_after: int | None = None
    """Close the connection after so many bytes of the body."""
    body: bytes | None = None
    """Send these bytes."""
    kind: str | None = None
    """With *body*, for a page: its content type."""
    hang: bool = False
    """Say nothing until the index stops."""
    headers: dict[str, str] = field(default_factory=dict)
    """With *status*: these headers, too."""
    unmeasured: bool = False
    """Do not say how long the body is: its end is the end of the connection."""
    drip: bool = False
    """Send the body over five seconds."""
    span: str | None = None
    """The ``Content-Range`` of an answer to a request for a range."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


class Index:
    """An index at ``url`` (``<base>/simple``), with files under ``<base>/files``."""

    def __init__(
        self, *, ranges: bool = True, as_json: bool = False, hashes: bool = True, tls: bool = False
    ) -> None:
        self.ranges = ranges
        self.as_json = as_json
        self.hashes = hashes
        self.credentials: str | None = None
        """``user:password`` without which everything is 401."""
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, list[str]] = defaultdict(list)
        self.troubles: dict[str, list[Trouble]] = defaultdict(list)
        """By the end of the path: what happens to the requests for it, one after another."""
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"index": self}))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.base}/simple"

    def add(self, filename: str, data: bytes, *, index: str = "simple") -> None:
        """Publish a file on the page of its project."""
        project = re.sub(r"[-_.]+", "-", filename.split("-")[0]).lower()
        self.files[filename] = data
        self.pages[f"/{index}/{project}/"].append(filename)

    def asked(self, end: str) -> list[dict[str, str]]:
        """Return the headers of the requests for paths with this *end*."""
        return [headers for path, headers in list(self.requests) if path.endswith(end)]

    def __enter__(self) -> Index:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    index: Index
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # A proxy is asked for a whole URL.
        path = unquote(re.sub(r"^https?://[^/]+", "", self.path))
        self.index.requests.append((path, {key.lower(): value for key, value in self.headers.items()}))
        trouble = self.trouble(path)
        if trouble.hang:
            self.index.stopped.wait()
            self.close_connection = True
        elif trouble.status is not None:
            self.answer(trouble.status, b"", trouble.headers)
        elif trouble.kind is not None:
            self.answer(200, trouble.body or b"", {"Content-Type": trouble.kind})
        elif path in self.index.pages:
            self.page(self.index.pages[path])
        elif path.startswith("/files/") and path.removeprefix("/files/") in self.index.files:
            self.file(self.index.files[path.removeprefix("/files/")], trouble)
        else:
            self.answer(404, b"")

    def trouble(self, path: str) -> Trouble:
        trouble = Trouble()
        for end, troubles in self.index.troubles.items():
            if path.endswith(end) and troubles:
                trouble = troubles.pop(0)
        if self.index.credentials is not None:
            wanted = "Basic " + base64.b64encode(self.index.credentials.encode()).decode()
            if self.headers.get("Authorization") != wanted:
                trouble = Trouble(status=401, headers={"WWW-Authenticate": "Basic"})
        return trouble

    def page(self, filenames: list[str]) -> None:
        files = [(name, hashlib.sha256(self.index.files[name]).hexdigest()) for name in filenames]
        if self.index.as_json:
            listed: list[dict[str, Any]] = [
                {
                    "filename": name,
                    "url": f"/files/{quote(name)}",
                    "hashes": {"sha256": sha} if self.index.hashes else {},
                }
                for name, sha in files
            ]
            text = json.dumps({"meta": {"api-version": "1.0"}, "files": listed})
            kind = "application/vnd.pypi.simple.v1+json"
        else:
            text = "<!DOCTYPE html>" + "".join(
                f'<a href="/files/{quote(name)}{f"#sha256={sha}" if self.index.hashes else ""}">'
                f"{html.escape(name)}</a>"
                for name, sha in files
            )
            kind = "text/html"
        self.answer(200, text.encode(), {"Content-Type": kind})

    def file(self, data: bytes, trouble: Trouble) -> None:
        data = data if trouble.body is None else trouble.body
        if trouble.drip:
            self.answer(200, data, break_after=0, headers={"Content-Length": str(len(data))})
            piece = len(data) // 100 + 1
            for start in range(0, len(data), piece):
                self.wfile.write(data[start : start + piece])
                self.index.stopped.wait(0.05)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        headers: dict[str, str | None] = {"Content-Length": None} if trouble.unmeasured else {}
        if wanted and self.index.ranges:
            start = int(wanted[1])
            if start > len(data):
                self.answer(416, b"")
                return
            headers["Content-Range"] = trouble.span or f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.answer(206, data[start:], headers, trouble.break_after)
        else:
            self.answer(200, data, headers, trouble.break_after)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str | None] | None = None,
        break_after: int | None = None,
    ) -> None:
        sent = {"Content-Length": str(len(body)), **(headers or {})}
        self.send_response(status)
        for key, value in sent.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[:break_after])
        if break_after is not None or sent["Content-Length"] is None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass
