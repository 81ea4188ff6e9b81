"""The installed files of a wheel, without installing it.

Steps and names follow the *Binary distribution format* of packaging.python.org, read by pypa/installer's own parts;
the files are those that ``uv pip install`` of the wheel writes.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from installer.records import InvalidRecordEntry, parse_record_file
from installer.scripts import InvalidScript, Script
from installer.utils import parse_entrypoints, parse_metadata_file, parse_wheel_filename
from packaging.utils import canonicalize_name

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.limits import PART, PATH
from envbuilder.archive.manifest import ENVIRONMENT_PATH, MANIFEST_PATH
from envbuilder.archive.member import Member
from envbuilder.archive.segment import Excluded, FileFacts
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError
from envbuilder.util.printable import shown
from envbuilder.util.text import human

INSTALLER: Final = b"envbuilder\n"
_MOST_TEXT: Final = 64 * 2**20
"""Largest size of a text file in a wheel; torch's RECORD has 2 MB."""
_MOST_SOURCE: Final = 32 * 2**20
"""Largest size of a Python source: compiling needs a hundred times as much memory; the longest known has 5 MB."""
_MOST_SOURCES: Final = 256 * 2**20
"""Largest total size of a wheel's Python sources, which are read in parallel; torch has 60 MB."""
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFiles:
    """The files of a wheel, each with its path in an environment."""

    entries: tuple[Entry, ...]
    left_out: tuple[Entry, ...]
    """Files excluded by the rules."""
    excluded: tuple[Excluded, ...]
    dist_info: str
    """``lib/python3.11/site-packages/NAME-VERSION.dist-info``."""
    minor: str

    def record(self, facts: Sequence[FileFacts]) -> Iterator[Entry]:
        """Yield INSTALLER and RECORD, which lists the written files: *facts*, without bytecode."""
        site_packages = posixpath.dirname(self.dist_info)
        installer = Entry(f"{self.dist_info}/INSTALLER", data=INSTALLER)
        yield installer
        rows = [f"{posixpath.relpath(installer.path, site_packages)},{_hash(INSTALLER)},{len(INSTALLER)}"]
        rows += [
            f"{_quoted(_relative(file.path, site_packages))},"
            f"sha256={_base64(bytes.fromhex(file.sha256))},{file.size}"
            for file in facts
            if "/__pycache__/" not in file.path
        ]
        rows.append(f"{posixpath.relpath(self.dist_info, site_packages)}/RECORD,,")
        yield Entry(f"{self.dist_info}/RECORD", data=("\n".join(sorted(rows)) + "\n").encode())


def wheel_files(
    wheel: ZipDirectory, filename: str, *, minor: str, rules: PackRules, keep: Collection[str] = ()
) -> WheelFiles:
    """Return the files that the wheel *filename* installs for Python *minor*; *keep* overrides *rules*.

    Raises:
        AssembleError: it is not a valid wheel: no single ``.dist-info`` that matches its name, no RECORD, an unknown
            version or scheme, or an invalid entry point.
    """
    dist_info = _dist_info(wheel, filename)
    # Only the header fields: the parser would treat the body as an email of any depth.
    fields = _text(wheel, f"{dist_info}/WHEEL", filename).replace("\r\n", "\n").partition("\n\n")[0]
    metadata = parse_metadata_file(fields)
    version = str(metadata.get("Wheel-Version", ""))
    if not version.startswith("1."):
        raise AssembleError(f"{filename}: wheel format {version!r}, expected 1.x")
    # Reading it validates it; the RECORD that is written is computed from the bytes themselves.
    try:
        for _ in parse_record_file(_text(wheel, f"{dist_info}/RECORD", filename).splitlines()):
            pass
    except (InvalidRecordEntry, csv.Error) as error:
        raise AssembleError(f"{filename}: {dist_info}/RECORD: {error}") from error
    site_packages = f"lib/python{minor}/site-packages"
    entries: dict[str, Entry] = {}
    excluded: dict[str, list[Entry]] = {}
    for member in wheel.members.values():
        if member.name in (f"{dist_info}/RECORD", f"{dist_info}/RECORD.jws", f"{dist_info}/INSTALLER"):
            continue
        entry = _place(wheel, member, filename, dist_info, minor)
        pattern = rules.excluded_by(entry.path)
        if pattern is not None and entry.path not in keep:
            excluded.setdefault(pattern, []).append(entry)
            continue
        if entry.path in entries:
            raise AssembleError(f"{filename}: two of its files have the path {entry.path}")
        entries[entry.path] = entry
    for script in _scripts(wheel, dist_info, filename, minor):
        entries.setdefault(script.path, script)
    _check_paths(filename, entries)
    _check_sources(filename, entries.values())
    return WheelFiles(
        entries=tuple(entries.values()),
        left_out=tuple(entry for one in excluded.values() for entry in one),
        excluded=tuple(
            Excluded(pattern, len(one), sum(entry.size for entry in one)) for pattern, one in excluded.items()
        ),
        dist_info=f"{site_packages}/{dist_info}",
        minor=minor,
    )


def _check_paths(filename: str, paths: Collection[str]) -> None:
    """Reject paths that cannot be extracted or that collide with the archive's manifest."""
    for path in paths:
        raw = os.fsencode(path)
        if len(raw) > PATH or max(map(len, raw.split(b"/"))) > PART:
            raise AssembleError(f"{filename}: {shown(path)} is longer than PATH_MAX")
        if _CONTROL.search(path):
            raise AssembleError(f"{filename}: {shown(path)} contains a control character")
        if path in (MANIFEST_PATH, ENVIRONMENT_PATH):
            raise AssembleError(
                f"{filename}: one of its files has the path {path}, which is reserved for envbuilder"
            )
        folder = posixpath.dirname(path)
        while folder:
            if folder in paths:
                raise AssembleError(f"{filename}: {folder} is both a file and the folder of {path}")
            folder = posixpath.dirname(folder)


def _check_sources(filename: str, entries: Iterable[Entry]) -> None:
    """Reject oversized Python sources: they are read whole and compiled."""
    sources = [entry for entry in entries if entry.path.endswith(".py")]
    for entry in sources:
        if entry.size > _MOST_SOURCE:
            raise AssembleError(
                f"{filename}: {entry.path} is a Python source of {human(entry.size)}; "
                f"more than {human(_MOST_SOURCE)} are not compiled"
            )
    total = sum(entry.size for entry in sources)
    if total > _MOST_SOURCES:
        raise AssembleError(
            f"{filename}: its Python sources have {human(total)}; more than {human(_MOST_SOURCES)} are not compiled"
        )


def _dist_info(wheel: ZipDirectory, filename: str) -> str:
    parsed = parse_wheel_filename(filename)
    folders = {name.split("/")[0] for name in wheel.members if "/" in name}
    found = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    own = [f for f in found if canonicalize_name(f.split("-")[0]) == canonicalize_name(parsed.distribution)]
    if len(own) != 1:
        raise AssembleError(
            f"{filename}: expected one .dist-info folder of {parsed.distribution}, found {found or 'none'}"
        )
    return own[0]


def _text(wheel: ZipDirectory, name: str, filename: str) -> str:
    member = wheel.members.get(name)
    if member is None:
        raise AssembleError(f"{filename}: {name} is missing: not a valid wheel")
    try:
        return _small(wheel, member, filename).decode()
    except UnicodeDecodeError as error:
        raise AssembleError(f"{filename}: {name} is not UTF-8: {error}") from error


def _small(wheel: ZipDirectory, member: Member, filename: str) -> bytes:
    """Return the whole content of a file: metadata or a script."""
    if member.size > _MOST_TEXT:
        raise AssembleError(
            f"{filename}: {member.name} has {human(member.size)}, more than {human(_MOST_TEXT)}, the limit"
        )
    return wheel.read(member)


def _place(wheel: ZipDirectory, member: Member, filename: str, dist_info: str, minor: str) -> Entry:
    """Return the path of a member: in site-packages, or according to its ``.data`` scheme."""
    mode = 0o755 if member.mode & 0o111 else 0o644
    site_packages = f"lib/python{minor}/site-packages"
    top, _, rest = member.name.partition("/")
    if top != dist_info.removesuffix(".dist-info") + ".data":
        return Entry(f"{site_packages}/{member.name}", mode, member=member)
    scheme, _, path = rest.partition("/")
    distribution = parse_wheel_filename(filename).distribution
    places = {
        "purelib": site_packages,
        "platlib": site_packages,
        "headers": f"include/site/python{minor}/{distribution}",
        "scripts": "bin",
        "data": "",
    }
    if scheme not in places or not path:
        raise AssembleError(f"{filename}: {member.name} has an unknown scheme")
    place = posixpath.join(places[scheme], path)
    if scheme != "scripts":
        return Entry(place, mode, member=member)
    head = next(wheel.chunks(member), b"")[:8]
    if not head.startswith(b"#!python"):
        return Entry(place, 0o755, member=member)
    _, _, body = _small(wheel, member, filename).partition(b"\n")
    return Entry(place, 0o755, data=_shebang(minor) + body)


def _scripts(wheel: ZipDirectory, dist_info: str, filename: str, minor: str) -> Iterator[Entry]:
    """Yield a script for each entry point of the console and gui groups."""
    if f"{dist_info}/entry_points.txt" not in wheel.members:
        return
    text = _text(wheel, f"{dist_info}/entry_points.txt", filename)
    try:
        for name, module, attribute, section in parse_entrypoints(text):
            if "/" in name or name in (".", ".."):
                raise AssembleError(f"{filename}: entry_points.txt: {name!r} is not a valid script name")
            made = Script(name, module, attribute, section).generate("python", "posix")
            _, _, body = made[1].partition(b"\n")
            yield Entry(f"bin/{made[0]}", 0o755, data=_shebang(minor) + body)
    except (InvalidScript, ValueError, configparser.Error) as error:
        raise AssembleError(f"{filename}: entry_points.txt: {str(error).splitlines()[0]}") from error
    except AssertionError as error:  # installer's error for an entry point that is not module:attribute
        raise AssembleError(f"{filename}: entry_points.txt: invalid entry point") from error


def _shebang(minor: str) -> bytes:
    # The environment's path is not known until extraction, so the first python of this minor version on PATH.
    return f"#!/usr/bin/env python{minor}\n".encode()


def _hash(data: bytes) -> str:
    return f"sha256={_base64(hashlib.sha256(data).digest())}"


def _base64(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _relative(path: str, folder: str) -> str:
    # The common case; posixpath.relpath would call getcwd each time.
    inside = path.startswith(f"{folder}/")
    return path[len(folder) + 1 :] if inside else posixpath.relpath(path, folder)


def _quoted(path: str) -> str:
    if not any(character in path for character in ',"\n\r'):
        return path
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([path])
    return out.getvalue()
