"""A timestamp authority: OpenSSL's, on loopback."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.helpers.authority import write_certificate, write_key

_CONFIG = """
[one]
dir = .
serial = serial
crypto_device = builtin
signer_cert = stamper.crt
signer_key = stamper.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha512
ordering = no
tsa_name = no
ess_cert_id_chain = no
"""


class Authority:
    """The authority in *folder*, whose certificate is ``root.crt``."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """Make its keys; *options* are those of the stamper's certificate."""
        folder.mkdir()
        self.folder = folder
        root = write_key(folder, "root", rsa.generate_private_key(65537, 2048))
        stamper = write_key(folder, "stamper", rsa.generate_private_key(65537, 2048))
        write_certificate(folder / "root.crt", root, authority=True, digest=SHA256())
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        options.setdefault("extensions", [(purpose, True)])
        write_certificate(
            folder / "stamper.crt", stamper, issuer=root, issuer_name="root", digest=SHA256(), **options
        )
        (folder / "openssl.cnf").write_text(_CONFIG)
        (folder / "serial").write_text("01\n")
        self.certificate = folder / "root.crt"

    def answer(self, query: bytes) -> bytes:
        """Return a timestamp."""
        (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", "openssl.cnf", "-section", "one"]
        files = ["-queryfile", "query", "-out", "answer"]
        subprocess.run([*command, *files], cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "answer").read_bytes()


@contextmanager
def answering(answer: Any, status: int = 200) -> Iterator[str]:
    """Serve what *answer* makes of each query; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            body = answer(query)
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
