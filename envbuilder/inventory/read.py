"""Read the metadata files of an archive: manifest, METADATA, licence files. Nothing is extracted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.limits import TEXTS
from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.source import open_source
from envbuilder.archive.stream import TarStream, trailing_data
from envbuilder.errors import IntegrityError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import LISTING
from envbuilder.util.files import read_regular
from envbuilder.util.text import human

_SITE: Final = r"lib/python3\.\d+/site-packages/"
_LICENCE_NAME: Final = r"(?i:licen[cs]e|copying|notice|eula)[^/]*"
_WANTED: Final = re.compile(
    rf"{re.escape(MANIFEST_PATH)}"
    rf"|{_SITE}(?:.*/)?[^/]+\.dist-info/(?:METADATA|{_LICENCE_NAME}|licenses/.+|sboms/.+)"
    rf"|{_SITE}[^/]+\.egg-info(?:/PKG-INFO)?"
    r"|lib/python3\.\d+/LICENSE\.txt"
    r"|conda-meta/[^/]+\.json"
)
_WHOLE: Final = re.compile(r".*/METADATA|.*/PKG-INFO|.*\.json|.*\.dist-info/sboms/.+")
_HEAD: Final = 2**16
"""How many bytes of a licence file are read: enough to recognize it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The metadata files of an archive by path; of licence files, the beginning."""

    sha256: str
    """SHA-256 of the archive."""
    size: int
    """Size of the archive in bytes."""
    files: Mapping[str, bytes]


def describes(path: str) -> bool:
    """Return whether the file *path* is a metadata file."""
    return _WANTED.fullmatch(path) is not None


def read_texts(archive: Path, *, reporter: Reporter = SILENT) -> Texts:
    """Read *archive* once, from its first byte to its last.

    Raises:
        IntegrityError: it does not exist, or cannot be read to its end.
    """
    try:
        source = open_source(archive)
    except OSError as error:
        raise IntegrityError(f"{archive} cannot be read: {error.strerror}") from error
    files: dict[str, bytes] = {}
    damage = source.unreadable
    with source.stream(reporter) as stream:
        if damage is None:
            damage = _read(stream, files)
        sha256 = stream.finish()
    if damage is not None:
        if source.refused is not None and damage != source.refused:
            damage = f"{source.refused}; {damage}"
        raise IntegrityError(
            f"{archive}: {damage}", hint="copy it again, or build it again with `envbuilder build`"
        )
    return Texts(sha256=sha256, size=source.size, files=files)


def texts_of_folder(environment: Path, paths: Mapping[str, object], *, sha256: str, size: int) -> Texts:
    """Return the metadata files of an archive that was extracted into *environment*; *paths* are its files.

    Raises:
        IntegrityError: one cannot be read.
    """
    files = {}
    for path in paths:
        place = environment / path
        if _WANTED.fullmatch(path) and not place.is_symlink():
            try:
                files[path] = read_regular(place, most=_bound(path))
            except OSError as error:
                raise IntegrityError(f"{path} cannot be read: {error.strerror}") from error
    return Texts(sha256=sha256, size=size, files=files)


def _read(stream: TarStream, files: dict[str, bytes]) -> str | None:
    left = TEXTS
    try:
        tar = BoundedTar(stream)
        for member in tar:
            path = member.name.removeprefix("./")
            if member.isreg() and _WANTED.fullmatch(path):
                files[path] = tar.content(member, _bound(path))
                left -= len(files[path])
                if left < 0:
                    return f"the metadata of its packages takes more than {human(TEXTS)}"
        return trailing_data(stream, tar.last)
    except (EOFError, ValueError) as error:
        return str(error)


def _bound(path: str) -> int:
    return LISTING.size + 1 if _WHOLE.fullmatch(path) else _HEAD
