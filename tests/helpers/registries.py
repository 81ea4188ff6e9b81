"""Registries on loopback: Debian's docker-registry, and a small one that does wrong what it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}", secret: "for tests only"}}
"""
AUTH = """
auth:
  htpasswd: {{realm: tests, path: {path}}}
"""
USER, PASSWORD = "someone", "correct horse battery staple"
# bcrypt of the password, which is the only form that the registry takes.
HTPASSWD = "someone:$2b$05$abcdefghijklmnopqrstuuFiPhXf1sVd3pCCRO.uVh34H/qI/ZsuS\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def docker_registry(folder: Path, *, htpasswd: str | None = None) -> Iterator[str]:
    """Run Debian's docker-registry; give its host."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    text = CONFIG.format(root=folder / "data", port=port)
    if htpasswd is not None:
        (folder / "htpasswd").write_text(htpasswd)
        text += AUTH.format(path=folder / "htpasswd")
    (folder / "config.yml").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, "docker-registry does not listen"
                    time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


# -- one that does wrong ---------------------------------------------------------------------------

Fault = Callable[["Handler"], bool]
"""Looks at a request; True: it has answered, wrongly."""


@dataclass
class Faulty:
    """A registry in memory: the distribution specification, and faults."""

    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By tag and by digest: media type and bytes. One repository is as good as another."""
    uploads: dict[str, bytearray] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Method and path of each."""
    sent: list[dict[str, str]] = field(default_factory=list)
    """The headers of each."""
    referrers: bool = True
    """Whether it knows OCI 1.1."""
    bytes_in: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, pattern: str) -> int:
        """How many requests there were."""
        return sum(re.fullmatch(pattern, one) is not None for one in self.requests)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    registry: Faulty
    body: bytes

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, code: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """Answer."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, code: int, name: str = "UNKNOWN", text: str = "something", **headers: str) -> None:
        """Answer with an error."""
        body = json.dumps({"errors": [{"code": name, "message": text}]}).encode()
        self.reply(code, body, length=len(body), **headers)

    def drop(self) -> None:
        """Cut the connection off."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def handle_any(self) -> None:
        registry = self.registry
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with registry.lock:
            registry.requests.append(f"{self.command} {self.path}")
            registry.sent.append(dict(self.headers.items()))
        for fault in registry.faults:
            if fault(self):
                return
        parts = urlsplit(self.path)
        found = re.fullmatch(
            r"/v2/(.*?)(blobs/uploads/.*|blobs/.*|manifests/.*|referrers/.*|tags/list|)", parts.path
        )
        if found is None:
            self.error(404)
            return
        rest, query = found[2], parse_qs(parts.query)
        if rest == "":
            self.reply(200)
        elif rest.startswith("blobs/uploads/"):
            self._upload(found[1], rest.removeprefix("blobs/uploads/"), query)
        elif rest.startswith("blobs/"):
            self._blob(rest.removeprefix("blobs/"))
        elif rest.startswith("manifests/"):
            self._manifest(rest.removeprefix("manifests/"))
        elif rest.startswith("referrers/"):
            self._referrers(rest.removeprefix("referrers/"))
        else:
            tags = sorted(name for name in registry.manifests if ":" not in name)
            self.reply(200, json.dumps({"name": found[1], "tags": tags}).encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def _blob(self, digest: str) -> None:
        data = self.registry.blobs.get(digest)
        if data is None:
            self.error(404, "BLOB_UNKNOWN")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted:
            self.reply(206, data[int(wanted[1]) :])
        else:
            self.reply(200, data)

    def _upload(self, repository: str, name: str, query: dict[str, list[str]]) -> None:
        registry = self.registry
        if self.command == "POST":
            if "mount" in query and query["mount"][0] in registry.blobs:
                self.reply(201)
                return
            with registry.lock:
                name = f"u{len(registry.uploads)}"
                registry.uploads[name] = bytearray()
            self.reply(202, Location=f"/v2/{repository}blobs/uploads/{name}")
            return
        there = registry.uploads.get(name)
        if there is None:
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "GET":
            self.reply(204, Range=f"0-{max(len(there) - 1, 0)}", Location=self.path)
        elif self.command == "PATCH":
            begin = int(self.headers["Content-Range"].partition("-")[0])
            if begin != len(there):
                self.error(416)
                return
            there += self.body
            registry.bytes_in += len(self.body)
            self.reply(202, Location=self.path, Range=f"0-{len(there) - 1}")
        elif self.command == "PUT":
            (digest,) = query["digest"]
            if f"sha256:{hashlib.sha256(there).hexdigest()}" != digest:
                self.error(400, "DIGEST_INVALID")
                return
            registry.blobs[digest] = bytes(there)
            self.reply(201, Location=f"/v2/{repository}blobs/{digest}")
        else:
            self.reply(204)

    def _manifest(self, name: str) -> None:
        registry = self.registry
        if self.command == "PUT":
            digest = f"sha256:{hashlib.sha256(self.body).hexdigest()}"
            kind = self.headers["Content-Type"]
            registry.manifests[digest] = registry.manifests[name] = (kind, self.body)
            subject = json.loads(self.body).get("subject")
            known = {"OCI_Subject": subject["digest"]} if subject and registry.referrers else {}
            self.reply(201, length=0, Docker_Content_Digest=digest, **known)
            return
        found = registry.manifests.get(name)
        if found is None:
            self.error(404, "MANIFEST_UNKNOWN")
            return
        digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
        self.reply(200, found[1], Content_Type=found[0], Docker_Content_Digest=digest)

    def _referrers(self, digest: str) -> None:
        registry = self.registry
        if not registry.referrers:
            self.error(404)
            return
        listed = []
        for name, (kind, data) in registry.manifests.items():
            document = json.loads(data)
            if ":" in name and document.get("subject", {}).get("digest") == digest:
                kind_of = document.get("artifactType") or document.get("config", {}).get("mediaType")
                listed.append(
                    {
                        "mediaType": kind,
                        "digest": name,
                        "size": len(data),
                        **({"artifactType": kind_of} if kind_of else {}),
                        "annotations": document.get("annotations", {}),
                    }
                )
        body = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": listed,
        }
        self.reply(200, json.dumps(body).encode(), Content_Type=str(body["mediaType"]))


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away."""


@contextmanager
def faulty_registry(*, tls: bool = False) -> Iterator[Faulty]:
    """Run the small registry, with *tls* by HTTPS as ``localhost``."""
    registry = Faulty()
    handler = type("OneHandler", (Handler,), {"registry": registry})
    server = _Quiet(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(__file__).parent / "localhost.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def times(count: int, fault: Fault) -> Fault:
    """Do wrong only *count* times."""
    left = [count]
    lock = threading.Lock()

    def limited(handler: Handler) -> bool:
        with lock:
            if left[0] <= 0:
                return False
            done = fault(handler)
            left[0] -= done
        return done

    return limited


def on(pattern: str, answer: Callable[[Handler], object]) -> Fault:
    """Do wrong where method and path match."""

    def fault(handler: Handler) -> bool:
        if not re.fullmatch(pattern, f"{handler.command} {handler.path}"):
            return False
        answer(handler)
        return True

    return fault


def docker_config(folder: Path, host: str, user: str = USER, password: str = PASSWORD) -> Path:
    """Write docker's file of logins."""
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return folder
