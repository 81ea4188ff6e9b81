"""Tiny real wheels, zips that lie, and locks of them.

Zips are written here, not by ``zipfile``: it cannot lie, and what it deflates depends on the Python's own zlib, while
the compressor used here is the pinned one, so that a wheel made by a test has the same bytes on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zlib_ng import zlib_ng

from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from envbuilder.recipe.model import PackOptions, Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Zipped:
    """One member of a zip. ``central`` and ``local`` replace fields of its two headers: that is how it lies."""

    name: str | bytes
    data: bytes = b""
    method: int = 8
    mode: int = 0o100644
    stream: bytes | None = None
    """The compressed bytes; None: *data*, deflated where *method* is 8."""
    extra: bytes = b""
    """Extra field of the local header."""
    central: Mapping[str, Any] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)


def deflate(data: bytes, level: int = 6) -> bytes:
    """Return *data* as a raw deflate stream."""
    stream = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def zip_bytes(
    members: Iterable[Zipped], *, end: Mapping[str, int] | None = None, comment: bytes = b""
) -> bytes:
    """Return a zip of *members*; *end* replaces ``count``, ``size`` and ``offset`` of its last record."""
    body, central, count = bytearray(), bytearray(), 0
    for member in members:
        name = member.name.encode() if isinstance(member.name, str) else member.name
        stream = member.stream
        if stream is None:
            stream = deflate(member.data) if member.method == 8 else member.data
        told = {
            "name": name,
            "flags": 0 if name.isascii() else 0x800,
            "method": member.method,
            "needed": 20,
            "crc": zlib_ng.crc32(member.data),
            "compressed": len(stream),
            "size": len(member.data),
            "offset": len(body),
            "extra": b"",
        }
        here = {**told, "extra": member.extra, **member.local}
        there = {**told, **member.central}
        body += struct.pack(
            "<4s5H3L2H", b"PK\x03\x04", 20, here["flags"], here["method"], 0, 33, here["crc"],
            here["compressed"], here["size"], len(here["name"]), len(here["extra"]),
        )  # fmt: skip
        body += here["name"] + here["extra"] + stream
        central += struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 3 << 8 | 20, there["needed"], there["flags"], there["method"], 0, 33,
            there["crc"], there["compressed"], there["size"], len(there["name"]), len(there["extra"]), 0, 0, 0,
            member.mode << 16, there["offset"],
        )  # fmt: skip
        central += there["name"] + there["extra"]
        count += 1
    last = {"count": count, "size": len(central), "offset": len(body), **(end or {})}
    wide = b""
    if last["count"] > 0xFFFF:
        record = (b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(central), len(body))
        wide = struct.pack("<4sQ2H2L4Q", *record)
        wide += struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body) + len(central), 1)
        last["count"] = 0xFFFF
    tail = struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        0,
        0,
        last["count"],
        last["count"],
        last["size"],
        last["offset"],
        len(comment),
    )
    return bytes(body + central) + wide + tail + comment


def record_hash(data: bytes) -> str:
    """Return the hash of *data* as RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def wheel_members(
    name: str, version: str, files: Mapping[str, bytes | Zipped], *, entry_points: str | None = None
) -> list[Zipped]:
    """Return the members of a wheel: *files*, and a ``.dist-info`` that is true of them."""
    members = [
        file if isinstance(file, Zipped) else Zipped(name=path, data=file) for path, file in files.items()
    ]
    info = f"{name}-{version}.dist-info"
    members.append(
        Zipped(
            name=f"{info}/METADATA",
            data=f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        )
    )
    members.append(
        Zipped(
            name=f"{info}/WHEEL",
            data=b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
    )
    if entry_points is not None:
        members.append(Zipped(name=f"{info}/entry_points.txt", data=entry_points.encode()))
    rows = [
        f"{m.name if isinstance(m.name, str) else m.name.decode()},{record_hash(m.data)},{len(m.data)}"
        for m in members
    ]
    members.append(
        Zipped(name=f"{info}/RECORD", data="".join(f"{r}\n" for r in [*rows, f"{info}/RECORD,,"]).encode())
    )
    return members


def filename(name: str, version: str) -> str:
    """Return the file name of a pure wheel."""
    return f"{name}-{version}-py3-none-any.whl"


def write_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes | Zipped] | None = None,
    *,
    entry_points: str | None = None,
) -> Artifact:
    """Write a wheel into *folder* and return it as an artifact."""
    files = {f"{name}.py": f"NAME = {name!r}\n".encode()} if files is None else files
    data = zip_bytes(wheel_members(name, version, files, entry_points=entry_points))
    return write_artifact(folder, name, version, data)


def write_artifact(folder: Path, name: str, version: str, data: bytes) -> Artifact:
    """Write *data* as a wheel of that name, whatever it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / filename(name, version)).write_bytes(data)
    return Artifact(
        name=name,
        version=version,
        filename=filename(name, version),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def small_recipe(folder: Path, name: str = "small", pack: PackOptions | None = None) -> Recipe:
    """Return a recipe that nothing was locked for by a solver."""
    return Recipe(
        name=name,
        path=folder / f"{name}.yaml",
        triton="pytriton-0.7.0",
        torch="2.13.0",
        cuda="cpu",
        python="3.11",
        pack=pack or PackOptions(),
    )


def small_lock(recipe: Recipe, artifacts: Sequence[Artifact], interpreter: LockedInterpreter) -> Lock:
    """Return a lock of *artifacts*, as a solver would have written it."""
    return Lock(
        recipe=recipe.name,
        recipe_digest=recipe.digest(),
        release=recipe.triton,
        python=recipe.python,
        torch=recipe.torch_version,
        cuda=recipe.cuda,
        demands=("numpy<2",),
        artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.name)),
        interpreter=interpreter,
        tools=(("uv", "0"),),
    )
