"""Fuzz a reader of foreign bytes: ``python -m tests.fuzz.readers NAME --seconds 60``; without a NAME they are listed.

Any bytes are read, or refused with one of the tool's own errors, whichever reader they come to. See
:mod:`tests.fuzz.common`; readers of which more can be said have a module of their own beside this one.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.metadata import parse_email
from unearth.collector import IndexPage
from unearth.link import Link

from tests.fuzz.common import Target, fuzz, instrumented

with instrumented(include=["envbuilder"]):
    from envbuilder.archive.elf import highest_defined, read_elf
    from envbuilder.archive.exclude import PackRules
    from envbuilder.archive.extract import extract
    from envbuilder.archive.globs import Globs
    from envbuilder.archive.imports import imports_of
    from envbuilder.archive.zipdir import ZipDirectory
    from envbuilder.assemble.wheel import wheel_files
    from envbuilder.base.conda_archive import read_conda_archive
    from envbuilder.building.record import BuildRecord, parse_record
    from envbuilder.config.condarc import read_condarc
    from envbuilder.config.settings import load_settings
    from envbuilder.fetch.http import Unavailable, parse_page
    from envbuilder.inventory.components import inventory_of
    from envbuilder.inventory.license import licence_of, to_expression
    from envbuilder.inventory.osv import parse_advisory
    from envbuilder.inventory.read import Texts, read_texts
    from envbuilder.lockfile.pylock import LockFormatError, lock_text, parse_lock
    from envbuilder.recipe.importing.detect import read_import
    from envbuilder.recipe.load import load_recipe
    from envbuilder.signing.dsse import parse_envelope
    from envbuilder.signing.keys import new_signer, parse_public_key, parse_signer, private_pem, public_pem
    from envbuilder.signing.timestamps import check_granted
    from envbuilder.util.documents import parse_json, parse_json_value, parse_toml
    from envbuilder.util.project_name import project_name
    from envbuilder.util.zips import BadZipError, read_member, zip_names
from envbuilder.errors import EnvbuilderError
from tests.helpers import tars
from tests.helpers.channels import Cut, write_package
from tests.helpers.environments import some_elf
from tests.helpers.hostile_archives import archive_of
from tests.helpers.imports import FILES
from tests.helpers.imports_more import MORE
from tests.helpers.inventories import Package, texts_of
from tests.helpers.wheels import wheel_members, zip_bytes
from tests.lockfile.test_pylock import CONDA_LOCK, LOCK

_FOLDER = tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-")
"""Where readers of files find their input."""


class Reader(NamedTuple):
    """What reads, what it is begun with, and the errors that say no."""

    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    refuses: tuple[type[Exception], ...] = (EnvbuilderError,)

    def target(self, data: bytes) -> None:
        """Read *data*; what is raised besides is a finding."""
        with contextlib.suppress(*self.refuses):
            self.read(data)


def _file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def act(data: bytes) -> object:
        path = Path(_FOLDER.name, name)
        path.write_bytes(data)
        return read(path)

    return act


def _archive(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_FOLDER.name) as into:
        read_texts(path)
        extract(path, Path(into, "there"))


def _elf(data: bytes) -> None:
    facts = read_elf(io.BytesIO(data))
    for prefix in ("GLIBC_", "GLIBCXX_"):
        highest_defined(io.BytesIO(data), prefix)
    assert facts is None or all(len(name) <= 4096 for name in facts.needs)


def _wheel(path: Path) -> None:
    with path.open("rb") as file:
        wheel = ZipDirectory(file, "demo-1.0-py3-none-any.whl")
        wheel_files(wheel, "demo-1.0-py3-none-any.whl", minor="3.11", rules=PackRules())


def _zip(path: Path) -> None:
    for name in zip_names(path)[:3]:
        read_member(path, name.__eq__, most=10**6)


def _lock(data: bytes) -> None:
    lock = parse_lock(data)
    assert parse_lock(lock_text(lock).encode()) == lock


def _page(kind: str) -> Callable[[bytes], object]:
    return lambda data: parse_page(IndexPage(Link("https://x/simple/y/"), data, None, kind))


def _metadata(data: bytes) -> None:
    texts = texts_of(Package(name="demo"))
    path = next(name for name in texts.files if name.endswith("/METADATA"))
    files = {**texts.files, path: data, path.replace("METADATA", "LICENSE"): data[:2000]}
    inventory_of(Texts(sha256=texts.sha256, size=texts.size, files=files), Path("x"))
    licence_of(parse_email(data[:2000])[0], {})


def _globs(data: bytes) -> None:
    pattern, _, path = data.decode("utf-8", "replace").partition("\n")
    Globs((pattern, f"{pattern}*")).first_match(path)


def _conda_seed() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        cut = Cut(name="demo", version="1.0", files={"lib/x": b"x"})
        (Path(name) / "noarch").mkdir()
        (Path(name) / "linux-64").mkdir()
        return write_package(Path(name), cut).read_bytes()


def _archive_seed(parts: Sequence[bytes] = ()) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        return archive_of(Path(name), parts, plain=True).read_bytes()


_KEY = new_signer("a fuzzer")
_BROKEN_KEY = (
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VxBCIEICjNvuOVtOuDzG1W2RHLZdX9XgqB7u0CDY833EcxCx0T\n"
    b"-----END PRIVATE KEY-----\n"
)
"""OpenSSL has no word for what is wrong with it."""
_PAGE = (
    b'<!DOCTYPE html><a href="/files/x-1.0-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3">x</a>'
)
_SIMPLE = {
    "meta": {"api-version": "1.0"},
    "files": [{"filename": "x-1.tar.gz", "url": "x", "hashes": {"sha256": "0"}}],
}
_OSV = {
    "id": "X-1",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "x"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2"}]}],
            "versions": ["1.0"],
        }
    ],
}
_RECIPE = b'triton: "25.06"\npython: "3.12"\ntorch: "2.7.1"\ncuda: cpu\ndependencies: [numpy>=2]\n'
_NO_ADDRESS = (
    b"urllib3 @ https://e>=2.7)]\n",
    b"https://[e/a.whl\n",
    b"file://[e/a.whl\n",
    b"x @ git+https://[e\n",
)
_EXAMPLES = [
    text.encode()
    for files in (*(example.files for example in FILES), *MORE.values())
    for text in files.values()
]
"""Of every format that can be imported."""
_IMPORTED = [*_EXAMPLES, *_NO_ADDRESS]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


READERS: dict[str, Reader] = {
    "json": Reader(lambda data: parse_json_value(data, where="x"), [_json(_OSV), b"[1.5e3, -0, true]"]),
    "toml": Reader(
        lambda data: parse_toml(data, where="x"),
        [lock_text(LOCK).encode()[:3000], b"[a.b]\nc = 1979-05-27\n"],
    ),
    "recipe": Reader(_file(load_recipe, "x.yaml"), [_RECIPE, b"- [a, {b: c}]\n"]),
    "condarc": Reader(
        _file(lambda path: read_condarc({"CONDARC": str(path), "HOME": _FOLDER.name}), ".condarc"),
        [b"channels: [a, b]\nchannel_alias: https://x\ncustom_channels: {a: https://y}\n"],
    ),
    "settings": Reader(
        _file(lambda path: load_settings(path.parent, environ={"HOME": "/nowhere"}), "envbuilder.toml"),
        [b'index-url = "https://x"\nfind-links = ["a"]\ntimeout = 3\nno-index = false\n'],
    ),
    "lock": Reader(_lock, [lock_text(LOCK).encode(), lock_text(CONDA_LOCK).encode()], (LockFormatError,)),
    "import": Reader(_file(read_import, "imported"), _IMPORTED),
    "pyproject": Reader(
        _file(lambda path: (read_import(path), project_name(path.parent)), "pyproject.toml"),
        [text for text in _IMPORTED if b"[project]" in text or b"[tool." in text],
    ),
    "elf": Reader(_elf, [some_elf()[:20_000]]),
    "archive": Reader(
        _file(_archive, "x.tar.gz"),
        [tars.file("a", b"b") + tars.END, _archive_seed([tars.pax((b"path", b"x")) + tars.file("x")])],
    ),
    "wheel": Reader(
        _file(_wheel, "x.whl"), [zip_bytes(wheel_members("demo", "1.0", {"demo.py": b"x = 1\n"}))]
    ),
    "zip": Reader(
        _file(_zip, "x.zip"), [zip_bytes(wheel_members("demo", "1.0", {}))], (BadZipError, OSError)
    ),
    "conda": Reader(_file(read_conda_archive, "demo-1.0-0.conda"), [_conda_seed()], (ValueError, OSError)),
    "metadata": Reader(
        _metadata,
        [
            b"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nLicense-Expression: MIT OR Apache-2.0\n"
            b"Classifier: License :: OSI Approved :: MIT License\nLicense-File: LICENSE\n\nWords.\n"
        ],
    ),
    "licence": Reader(
        lambda data: to_expression(data.decode("utf-8", "replace")), [b"MIT OR (Apache-2.0 AND BSD)"]
    ),
    "imports": Reader(
        lambda data: imports_of("a.b", False, data),
        [b"import os\ntry:\n    from . import x\nexcept ImportError: pass\n"],
    ),
    "osv": Reader(lambda data: parse_advisory(parse_json(data, where="x")), [_json(_OSV)]),
    "envelope": Reader(
        parse_envelope,
        [_json({"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": "a", "sig": "AA=="}]})],
    ),
    "public key": Reader(
        lambda data: parse_public_key(data, "x"),
        [public_pem(_KEY).encode(), b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
    ),
    "private key": Reader(lambda data: parse_signer(data, "x"), [private_pem(_KEY).encode(), _BROKEN_KEY]),
    "timestamp": Reader(lambda data: check_granted(data, "x"), [b"0\x030\x01\x02\x00", b"\x30\x80"]),
    "index page": Reader(_page("text/html"), [_PAGE], (Unavailable,)),
    "simple json": Reader(_page("application/vnd.pypi.simple.v1+json"), [_json(_SIMPLE)], (Unavailable,)),
    "record": Reader(
        lambda data: parse_record(data, where="x"),
        [
            BuildRecord(
                archive="tiny-000000000000.tar.gz", sha256="0" * 64, size=1, segments=2, manifest="1" * 64
            ).text()
        ],
    ),
    "glob": Reader(_globs, [b"**/a*b?/**\nx/a1b2/y"]),
}


def target_of(name: str) -> Target:
    """Return the target for the reader *name*."""
    return READERS[name].target


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"readers: {', '.join(READERS)}")
    fuzz(target_of(sys.argv[1]), READERS[sys.argv[1]].seeds, __doc__.splitlines()[0], sys.argv[2:])
