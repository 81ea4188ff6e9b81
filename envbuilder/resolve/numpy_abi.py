"""Detect which NumPy a wheel was built for if its metadata does not say.

An extension module that is built against NumPy's headers carries the oldest NumPy that it runs with in the text of the
error it would raise (``numpy/core/include/numpy/__multiarray_api.h``: "module was compiled against NumPy C-API version
0x%x (NumPy 2.0) but …"), and one built for NumPy 1 alone looks for ``numpy.core`` and nowhere else. Wheels whose
metadata may be wrong are read: those that use NumPy and do not require it (pyarrow), where NumPy 1 was chosen; those
that were uploaded before there was a NumPy 2, where that was chosen.
"""

from __future__ import annotations

import datetime
import email
import hashlib
import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2
from packaging.pylock import Package, PackageWheel
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from envbuilder.config.settings import TORCH_FAMILY
from envbuilder.errors import FetchError, IntegrityError, ResolveError
from envbuilder.fetch.artifacts import fetch
from envbuilder.fetch.http import open_client
from envbuilder.fetch.stream import TooLargeError, open_stream, read_body
from envbuilder.lockfile.model import Artifact
from envbuilder.resolve.target import Target
from envbuilder.resolve.wheel_size import size_of
from envbuilder.store.session import Session
from envbuilder.util.documents import DocumentError, parse_json
from envbuilder.util.zips import BadZipError, opened_zip, read_member

_FLOOR: Final = re.compile(rb"NumPy C-API version 0x%x \(NumPy (\d+\.\d+)\)")
_OLD: Final = b"numpy.core._multiarray_umath"
_NEW: Final = b"numpy._core._multiarray_umath"
_LIBRARY: Final = re.compile(r"(?!.*\.(libs|data/data)/).*\.so(\.\d+)*")
_NUMPY_2: Final = datetime.datetime(2024, 4, 1, tzinfo=datetime.timezone.utc)
"""No wheel that was uploaded before was built for it (2.0.0rc1 is of that day's week)."""
_LARGEST: Final = 128 * 2**20
"""Bytes of a wheel that is fetched to be read: what is larger (CUDA) uses no NumPy."""
_LARGEST_METADATA: Final = 8 * 2**20
_LARGEST_MEMBER: Final = 256 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Clash:
    """A wheel that does not run with the NumPy that was chosen with it."""

    name: str
    version: str
    needs: str
    """In words: ``NumPy 2.0 or newer``."""
    constraint: str
    """What keeps the solver from choosing the two together again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Abi:
    floor: str | None
    """The oldest NumPy with which any of its modules runs; None: it asks none."""
    only_1: bool


def find_clashes(
    packages: Iterable[Package], numpy: str | None, target: Target, session: Session
) -> list[Clash]:
    """Return the wheels among *packages* that do not run with *numpy*, or with the NumPy among them.

    What cannot be read is taken to be right: verification imports every package.
    """
    there = {str(package.name): package for package in packages}
    if numpy is None and "numpy" in there:
        numpy = str(there["numpy"].version)
    if numpy is None:
        return []
    old = Version(numpy) < Version("2")
    chosen = []
    for name, package in there.items():
        wheel = target.best_wheel(package)
        if name in TORCH_FAMILY or name == "numpy" or wheel is None or wheel.filename.endswith("-any.whl"):
            continue
        if old or (wheel.upload_time is not None and wheel.upload_time < _NUMPY_2):
            chosen.append((name, str(package.version), wheel))
    with ThreadPoolExecutor(8) as readers:
        abis = list(readers.map(lambda one: _abi(one[0], one[1], one[2], old, session), chosen))
    clashes = []
    for (name, version, _), abi in zip(chosen, abis, strict=True):
        if abi is None:
            continue
        if old and abi.floor is not None and Version(abi.floor) > Version(numpy):
            clashes.append(
                Clash(
                    name=name,
                    version=version,
                    needs=f"NumPy {abi.floor} or newer",
                    constraint=f"{name}<{version}",
                )
            )
        elif not old and abi.only_1:
            clashes.append(Clash(name=name, version=version, needs="NumPy 1", constraint="numpy<2"))
    return clashes


def _abi(name: str, version: str, wheel: PackageWheel, undeclared: bool, session: Session) -> _Abi | None:
    """Return what a wheel was built for, as the store remembers it, or as it is read now."""
    sha256 = wheel.hashes.get("sha256")
    if sha256 is None:
        return None
    key = hashlib.sha256(f"numpy-abi-1 {sha256} {undeclared}".encode()).hexdigest()
    known = session.store.find("listings", key)
    if known is not None:
        try:
            data = parse_json(known.read_bytes(), where=str(known)).value
            return _Abi(floor=data["floor"], only_1=data["only_1"])
        except (OSError, DocumentError, ValueError, KeyError, TypeError):
            pass  # damaged, or just evicted: read again
    abi = _read(name, version, wheel, sha256, undeclared, session)
    if abi is not None:
        session.store.write_entry(
            "listings", key, json.dumps({"floor": abi.floor, "only_1": abi.only_1}).encode()
        )
    return abi


def _read(
    name: str, version: str, wheel: PackageWheel, sha256: str, undeclared: bool, session: Session
) -> _Abi | None:
    metadata = _metadata(wheel, session)
    if metadata is not None and not _is_suspect(metadata, undeclared):
        return _Abi(floor=None, only_1=False)
    local = _local_path(wheel)
    try:
        if local is not None:
            return read_wheel(local)
        size = wheel.size if wheel.size is not None else size_of(wheel.url or "", session.settings)
        if size > _LARGEST:
            return None
        artifact = Artifact(name=name, version=version, filename=wheel.filename, sha256=sha256, size=size)
        ((_, path),) = fetch([artifact], "pypi", session)
        return read_wheel(path)
    except (ResolveError, FetchError, IntegrityError, OSError, ValueError):
        return None


def _metadata(wheel: PackageWheel, session: Session) -> bytes | None:
    """Return the METADATA of a wheel that an index serves next to it (PEP 658), or from a local file."""
    local = _local_path(wheel)
    if local is not None:
        try:
            return read_member(
                local, lambda name: name.endswith(".dist-info/METADATA"), most=_LARGEST_METADATA
            )
        except (OSError, BadZipError):
            return None
    url = f"{(wheel.url or '').partition('#')[0]}.metadata"
    try:
        with (
            open_client(session.settings) as client,
            open_stream(client, url, {"Accept-Encoding": "identity"}) as stream,
        ):
            if stream.response.status_code == 200:
                return read_body(stream, _LARGEST_METADATA)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TooLargeError):
        return None
    return None


def _local_path(wheel: PackageWheel) -> Path | None:
    parts = urlsplit(wheel.url or wheel.path or "")
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _is_suspect(metadata: bytes, undeclared: bool) -> bool:
    """Say whether a wheel uses NumPy: where *undeclared*, only if it does not require it."""
    requires = False
    for text in email.message_from_bytes(metadata).get_all("Requires-Dist", []):
        try:
            requirement = Requirement(str(text))
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == "numpy":
            requires |= requirement.marker is None or "extra" not in str(requirement.marker)
    return not requires and b"numpy" in metadata.lower() if undeclared else requires


def read_wheel(path: Path) -> _Abi:
    """Read which NumPy the extension modules of the wheel *path* were built for.

    Raises:
        OSError, BadZipError: it cannot be read.
    """
    floors: list[Version | None] = []
    only_1: list[bool] = []
    with opened_zip(path) as archive:
        for member in archive.infolist():
            if not _LIBRARY.fullmatch(member.filename) or member.file_size > _LARGEST_MEMBER:
                continue
            with archive.open(member) as file:  # read() alone would believe the stream and not the size
                data = file.read(member.file_size)
            if _OLD not in data and _NEW not in data:
                continue
            found = [Version(match.decode()) for match in _FLOOR.findall(data)]
            floors.append(max(found, default=None))
            only_1.append(_NEW not in data)
    known = [floor for floor in floors if floor is not None]
    # Of several modules the most modest counts: a package may go on without one of them.
    floor = min(known) if known and len(known) == len(floors) else None
    return _Abi(floor=str(floor) if floor else None, only_1=bool(only_1) and all(only_1))
