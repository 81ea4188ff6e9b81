"""Real indexes of tiny real wheels: the package index, PyTorch's with a folder for each CUDA, wheelhouses."""

from __future__ import annotations

import functools
import gzip
import hashlib
import html
import io
import re
import ssl
import tarfile
import threading
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from envbuilder.base.providers import LockedBase
from envbuilder.config.settings import Settings
from envbuilder.lockfile.model import Lock, LockedInterpreter
from envbuilder.progress import SILENT, SilentReporter
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.wheels import resolve
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.wheels import Zipped, wheel_members, zip_bytes

LINUX = "cp311-cp311-manylinux_2_28_x86_64"
INTERPRETER = LockedInterpreter(version="3.11.7", origin="host", digest="d" * 64)


@dataclass
class Notes(SilentReporter):
    """Remembers what it is told."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)


def make_wheel(name: str, version: str, requires: Sequence[str] = ()) -> bytes:
    """Return the bytes of a wheel that installs one module."""
    module = name.replace("-", "_")
    members = wheel_members(module, version, {f"{module}.py": f"VERSION = {version!r}\n".encode()})
    wanted = "".join(f"Requires-Dist: {text}\n" for text in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}"
    info = f"{module}-{version}.dist-info/METADATA"
    return zip_bytes(
        Zipped(name=info, data=metadata.encode()) if member.name == info else member for member in members
    )


BACKEND = """
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "{module}-{version}-py3-none-any.whl"
    info = "{module}-{version}.dist-info"
    files = {{
        "{module}.py": "BUILT = True\\n",
        f"{{info}}/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\nRequires-Dist: numpy\\n",
        f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{{info}}/RECORD": "",
    }}
    assert os.environ["SOURCE_DATE_EPOCH"] == "315532800" or os.environ.get("UV_INTERNAL__PARENT_INTERPRETER")
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
    return name
"""


def source_tree(name: str, version: str, *, broken: bool = False) -> dict[str, str]:
    """Return the files of a project that builds itself with no other package."""
    module = name.replace("-", "_")
    backend = BACKEND.format(name=name, module=module, version=version)
    if broken:
        backend = "def build_wheel(*args, **options):\n    raise SystemExit('no compiler for this')\n"
    return {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\nRequires-Dist: numpy\n",
    }


def make_sdist(name: str, version: str, *, broken: bool = False) -> bytes:
    """Return the bytes of an sdist."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, text in source_tree(name, version, broken=broken).items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


@dataclass
class Sources:
    """Indexes below one folder: ``pypi``, ``pytorch/<cuda>``, and wheelhouses beside them."""

    root: Path
    base: str = ""
    """Where they are served; else they are ``file:`` addresses."""
    hashes: bool = True
    _pages: dict[Path, list[str]] = field(default_factory=dict)

    def publish(
        self, place: str, name: str, version: str, *, requires: Sequence[str] = (), tag: str = "py3-none-any"
    ) -> Path:
        """Put a wheel into the index *place*."""
        filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
        return self._put(place, name, filename, make_wheel(name, version, requires))

    def publish_sdist(self, place: str, name: str, version: str, *, broken: bool = False) -> Path:
        """Put an sdist into the index *place*."""
        return self._put(place, name, f"{name}-{version}.tar.gz", make_sdist(name, version, broken=broken))

    def house(
        self, folder: str, name: str, version: str, *, requires: Sequence[str] = (), tag: str = LINUX
    ) -> str:
        """Put a wheel into the wheelhouse *folder*, and return the wheelhouse."""
        filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
        (self.root / folder).mkdir(exist_ok=True)
        (self.root / folder / filename).write_bytes(make_wheel(name, version, requires))
        return str(self.root / folder)

    def url(self, place: str) -> str:
        """Return the address of *place*."""
        return f"{self.base}/{place}" if self.base else (self.root / place).as_uri()

    def settings(self, **options: Any) -> Settings:
        """Return settings that know these indexes and nothing else."""
        (self.root / "pypi").mkdir(exist_ok=True)
        return Settings(
            **{"index_url": self.url("pypi"), "pytorch_index": self.url("pytorch"), "timeout": 5.0, **options}
        )

    def _put(self, place: str, name: str, filename: str, data: bytes) -> Path:
        folder = self.root / place / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / filename).write_bytes(data)
        hashed = f"#sha256={hashlib.sha256(data).hexdigest()}" if self.hashes else ""
        link = f'<a href="{quote(filename)}{hashed}">{html.escape(filename)}</a>'
        links = self._pages.setdefault(folder, [])
        links[:] = [*(old for old in links if filename not in old), link]
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")
        return folder / filename


HERE = Path(__file__).parent
AUTHORITY = HERE / "authority.pem"
"""Who signed the certificate that a server with TLS shows; made for these tests, good for nothing else."""


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


class Server:
    """Serves a folder on the loopback, and remembers what was asked for."""

    def __init__(
        self, root: Path, *, credentials: str | None = None, tls: bool = False, status: int | None = None
    ) -> None:
        self.asked: list[str] = []
        self.status = status
        """What everything is answered with."""
        self.credentials = credentials
        """``user:password`` without which everything is 401."""
        self._server = _Quiet(("127.0.0.1", 0), functools.partial(_Handler, self, directory=str(root)))
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(HERE / "localhost.pem")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, owner: Server, *args: Any, **options: Any) -> None:
        self.owner = owner
        super().__init__(*args, **options)

    def send_head(self) -> Any:
        wanted = self.owner.credentials
        if self.owner.status is not None:
            self.send_error(self.owner.status)
            return None
        if (
            wanted is None
            or self.headers.get("Authorization") == f"Basic {b64encode(wanted.encode()).decode()}"
        ):
            return super().send_head()
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def translate_path(self, path: str) -> str:
        return super().translate_path(re.sub(r"^http://[^/]+", "", path))  # a proxy is asked for a whole URL

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self.owner.asked.append(f"{self.command} {self.path}")


def write_recipe(
    folder: Path,
    *dependencies: str,
    torch: str = "2.7.1",
    cuda: str = "cpu",
    triton: str = "pytriton-0.7.0",
    python: str | None = "3.11",
    more: str = "",
    name: str = "mine",
) -> Recipe:
    """Write and load a recipe."""
    lines = [f'triton: "{triton}"', f'torch: "{torch}"', f"cuda: {cuda}", more]
    lines += [f'python: "{python}"'] if python else []
    lines += ["dependencies:", *(f"  - '{text}'" for text in dependencies)] if dependencies else []
    path = folder / f"{name}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return load_recipe(path)


def lock(recipe: Recipe, settings: Settings, store: Store, **options: Any) -> Lock:
    """Resolve *recipe* for the interpreter of these tests."""
    session = Session(settings=settings, store=store, reporter=options.pop("reporter", SILENT))
    base = LockedBase(interpreter=INTERPRETER)
    return resolve(recipe, session, base, **{"previous": None, **options})


def versions(lock: Lock) -> dict[str, str]:
    """Return the version of each package in *lock*."""
    return {artifact.name: artifact.version for artifact in lock.artifacts}
