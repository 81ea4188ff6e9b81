"""Small real archives: an environment in the form that every check asks, to be broken one thing at a time."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import io
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from envbuilder.archive.elf import read_elf
from envbuilder.archive.manifest import (
    MANIFEST_PATH,
    Manifest,
    ManifestFile,
    ManifestInterpreter,
    ManifestPackage,
)
from envbuilder.base.relocate import mask_paths, patchelf
from envbuilder.catalog.system import is_base_library
from envbuilder.catalog.triton import find_release
from envbuilder.progress import SILENT
from envbuilder.verification.report import Check
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import open_archive
from envbuilder.verification.static.release import check_release

SITE = "lib/python3.11/site-packages"
Tree = dict[str, "bytes | str | tarfile.TarInfo"]
"""What an archive holds, by path: a file's bytes, a link's target, or any other member."""


@functools.cache
def some_elf() -> bytes:
    """A real shared library: an extension module of the Python that runs the tests, without its RUNPATH."""
    folder = Path(str(sysconfig.get_config_var("DESTSHARED")))
    for path in sorted(folder.glob("*.so"), key=lambda path: path.stat().st_size):
        facts = read_elf(io.BytesIO(path.read_bytes()))
        if facts is not None and facts.glibc and all(is_base_library(need, "2.35") for need in facts.needs):
            break
    else:
        raise AssertionError(f"no module in {folder} that needs glibc only")
    with tempfile.TemporaryDirectory() as scratch:
        return mask_paths(patched(path.read_bytes(), Path(scratch), "--remove-rpath"), [sys.base_prefix])


def patched(data: bytes, tmp_path: Path, *options: str) -> bytes:
    """An ELF file as patchelf leaves it with *options*."""
    file = tmp_path / "patched.so"
    file.write_bytes(data)
    subprocess.run([patchelf(), *options, str(file)], check=True)
    return file.read_bytes()


def system_libstdcxx() -> bytes:
    """This machine's libstdc++."""
    ctypes.CDLL("libstdc++.so.6")
    maps = Path("/proc/self/maps").read_text()
    found = re.search(r"(/\S+libstdc\+\+\.so\.6\S*)", maps)
    assert found is not None
    return Path(found[1]).read_bytes()


def package(name: str, version: str) -> Tree:
    """The dist-info of an installed package."""
    info = f"{SITE}/{name}-{version}.dist-info"
    return {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/RECORD": f"{info}/METADATA,,\n{info}/RECORD,,\n".encode(),
    }


def environment() -> Tree:
    """An environment that no static check has anything against."""
    return {
        "bin/activate": b"export PATH\n",
        "bin/python3": b"#!/bin/sh\nexit 3\n",
        "lib/libpython3.11.so.1.0": some_elf(),
        f"{SITE}/torch/version.py": b"__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n",
        **package("torch", "2.13.0+cpu"),
        **package("numpy", "1.26.4"),
    }


def manifest(tree: Tree) -> Manifest:
    """The manifest of *tree*, as a build would have written it."""
    files = []
    for path, content in sorted(tree.items()):
        if isinstance(content, bytes):
            mode = 0o755 if path.startswith("bin/") else 0o644
            digest = hashlib.sha256(content).hexdigest()
            files.append(ManifestFile(path=path, mode=mode, size=len(content), sha256=digest))
        elif isinstance(content, str):
            digest = hashlib.sha256(content.encode()).hexdigest()
            files.append(ManifestFile(path=path, mode=0o777, size=0, sha256=digest, link=content))
    wheels = [("numpy", "1.26.4"), ("torch", "2.13.0+cpu")]
    fields = {
        "recipe": "tiny",
        "recipe_digest": "0" * 64,
        "lock_digest": "1" * 64,
        "release": "pytriton-0.7.0",
        "python": "3.11.7",
        "torch": "2.13.0+cpu",
        "cuda": "cpu",
        "interpreter": ManifestInterpreter(
            version="3.11.7", origin="host", digest="2" * 64, locked_digest="2" * 64
        ),
        "demands": ("numpy<2",),
        "packages": tuple(
            ManifestPackage(name=n, version=v, filename=f"{n}-{v}.whl", sha256="3" * 64, size=1)
            for n, v in wheels
        ),
        "glibc": None,
        "glibcxx": None,
        "pack": {"bytecode": True, "level": 4, "uncompressed": False, "exclude": []},
        "tools": {},
        "unpacked_size": sum(file.size for file in files),
        "files": tuple(files),
    }
    if "excluded" in Manifest.__dataclass_fields__:
        fields["excluded"] = ()
    return Manifest(**fields)  # type: ignore[arg-type]  # the fields of each type, in one dict


def add(tar: tarfile.TarFile, path: str, content: bytes | str | tarfile.TarInfo) -> None:
    """Write one member."""
    if isinstance(content, tarfile.TarInfo):
        tar.addfile(content, io.BytesIO(b"x" * content.size))
        return
    info = tarfile.TarInfo(path)
    if isinstance(content, str):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, content, 0o777
        tar.addfile(info)
        return
    info.size, info.mode = len(content), 0o755 if path.startswith("bin/") else 0o644
    tar.addfile(info, io.BytesIO(content))


def pack(tree: Tree, folder: Path, *, listed: Tree | None = None, mode: str = "w:gz") -> Path:
    """Write the archive of *tree* under the name that tells its content; its manifest is *listed*'s."""
    draft = folder / "draft"
    with tarfile.open(draft, mode) as tar:  # type: ignore[call-overload]  # a mode is a literal to its stub
        for path, content in tree.items():
            add(tar, path, content)
        if MANIFEST_PATH not in tree and listed is not None:
            add(tar, MANIFEST_PATH, manifest(listed).text().encode())
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    archive = folder / f"tiny-{digest[:12]}.tar.gz"
    draft.rename(archive)
    return archive


def verdicts(
    archive: Path, folder: Path, *, release: str = "pytriton-0.7.0", places: Iterable[Path] = ()
) -> list[Check]:
    """Every static check of *archive*."""
    place = folder / "extracted"
    place.mkdir()
    known = list(places)
    opened = open_archive(archive, place, lambda _: known, SILENT)
    return [*check_archive(opened, None), *check_release(opened, find_release(release))]


def failures(checks: Iterable[Check]) -> dict[str, tuple[str, str | None]]:
    """What was found, and what to change, by the id of each failed check."""
    return {check.id: (check.found, check.fix) for check in checks if check.status == "failed"}


def assert_all_passed(checks: Iterable[Check]) -> None:
    """Assert it in full: pytest shortens dicts that it compares, and the end of a server's log is in what was found."""
    texts = [f"{check.id} {check.status}: {check.found}" for check in checks if check.status != "passed"]
    assert not texts, "\n".join(texts)


def tampered(archive: Path, change: Callable[[bytes], bytes]) -> Path:
    """The archive with its bytes changed, under its old name."""
    archive.write_bytes(change(archive.read_bytes()))
    return archive
