"""Real conda packages and channels, cut from an interpreter of this machine, real wheels, and its compiler.

A package is cut as conda-build cuts one: built for a long prefix that is nowhere, which ``info/paths.json`` names
wherever it stands, to be replaced when the package is installed.
"""

from __future__ import annotations

import asyncio
import bz2
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import rattler
import zstandard

PLACEHOLDER: Final = "/build/" + "placehold_" * 24 + "prefix"
"""What conda-build's prefix looks like: long enough for any folder to take its place in a binary file."""
Content = "bytes | Path | Link"


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A package that is to be."""

    name: str
    version: str = "1.0"
    build: str = "0"
    depends: Sequence[str] = ()
    constrains: Sequence[str] = ()
    files: Mapping[str, bytes | Path | Link] = field(default_factory=dict)
    prefixed: Mapping[str, str] = field(default_factory=dict)
    """Path → ``text`` or ``binary``: files in which :data:`PLACEHOLDER` stands."""
    noarch: str | None = None
    entry_points: Sequence[str] = ()
    timestamp: int = 1_700_000_000_000
    license: str | None = None
    info: Mapping[str, bytes] = field(default_factory=dict)
    """Members of ``info/`` in place of the true ones."""
    paths: Sequence[Mapping[str, Any]] | None = None
    """The rows of ``info/paths.json`` in place of the true ones."""

    @property
    def subdir(self) -> str:
        """The folder of the channel."""
        return "noarch" if self.noarch else "linux-64"

    @property
    def stem(self) -> str:
        """``name-version-build``."""
        return f"{self.name}-{self.version}-{self.build}"


def write_package(channel: Path, cut: Cut, suffix: str = ".conda") -> Path:
    """Write *cut* into *channel*, which is to be indexed afterwards."""
    folder = channel / cut.subdir
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{cut.stem}{suffix}"
    info = {f"info/{name}": data for name, data in _info(cut).items()}
    if suffix == ".tar.bz2":
        path.write_bytes(bz2.compress(_tar({**info, **cut.files})))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as package:
        package.writestr(_member("metadata.json"), b'{"conda_pkg_format_version": 2}')
        for part, files in (("pkg", cut.files), ("info", info)):
            data = zstandard.ZstdCompressor(level=1).compress(_tar(files))
            package.writestr(_member(f"{part}-{cut.stem}.tar.zst"), data)
    return path


def index(channel: Path) -> None:
    """Write the repodata of *channel*."""
    (channel / "noarch").mkdir(parents=True, exist_ok=True)
    (channel / "linux-64").mkdir(exist_ok=True)
    asyncio.run(rattler.index.index_fs(channel, force=True, write_zst=False, write_shards=False))


def make_channel(channel: Path, cuts: Sequence[Cut]) -> Path:
    """Write *cuts* into *channel* and index it: the second kind of package for every third of them."""
    for number, cut in enumerate(cuts):
        write_package(channel, cut, ".tar.bz2" if number % 3 == 2 else ".conda")
    index(channel)
    return channel


def content(data: bytes | Path) -> bytes:
    """Return the bytes of a file."""
    return data.read_bytes() if isinstance(data, Path) else data


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, (2023, 11, 14, 0, 0, 0))


def _info(cut: Cut) -> dict[str, bytes]:
    record: dict[str, Any] = {
        "name": cut.name,
        "version": cut.version,
        "build": cut.build,
        "build_number": int(cut.build.rpartition("_")[2]),
        "depends": list(cut.depends),
        "constrains": list(cut.constrains),
        "subdir": cut.subdir,
        "timestamp": cut.timestamp,
    }
    if cut.license is not None:
        record["license"] = cut.license
    if cut.noarch:
        record["noarch"] = cut.noarch
    else:
        record |= {"arch": "x86_64", "platform": "linux"}
    made = {
        "index.json": json.dumps(record).encode(),
        "paths.json": json.dumps({"paths": _paths(cut), "paths_version": 1}).encode(),
        "files": "".join(f"{path}\n" for path in cut.files).encode(),
        "has_prefix": "".join(
            f"{PLACEHOLDER} {mode} {path}\n" for path, mode in cut.prefixed.items()
        ).encode(),
        "about.json": b"{}",
    }
    if cut.noarch == "python":
        noarch = {"type": "python", "entry_points": list(cut.entry_points)}
        made["link.json"] = json.dumps({"noarch": noarch, "package_metadata_version": 1}).encode()
    return {**made, **cut.info}


def _paths(cut: Cut) -> list[Mapping[str, Any]]:
    if cut.paths is not None:
        return list(cut.paths)
    rows: list[Mapping[str, Any]] = []
    for path, file in cut.files.items():
        if isinstance(file, Link):
            rows.append({"_path": path, "path_type": "softlink"})
            continue
        data = content(file)
        row: dict[str, Any] = {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
        if path in cut.prefixed:
            assert PLACEHOLDER.encode() in data, path
            row |= {"prefix_placeholder": PLACEHOLDER, "file_mode": cut.prefixed[path]}
        rows.append(row)
    return rows


def _tar(files: Mapping[str, bytes | Path | Link]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, file in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(file, Link):
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, file.target, 0o777
                tar.addfile(member)
                continue
            data = content(file)
            executable = os.access(file, os.X_OK) if isinstance(file, Path) else data.startswith(b"#!")
            member.size, member.mode = len(data), 0o755 if executable else 0o644
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()
