"""Archives and manifests as they are named, and found beside each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from envbuilder.archive.manifest import (
    MANIFEST_PATH,
    Manifest,
    manifest_beside,
    parse_manifest,
    read_manifest,
)
from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.stream import TarStream
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.progress import SILENT
from envbuilder.util.documents import LISTING
from envbuilder.util.files import NotRegularError, StrPath, open_regular

ENVS: Final = Path("envs")
"""The folder that archives go to."""
ARCHIVE = re.compile(r"(?P<stem>.+)-(?P<digest>[0-9a-f]{12})(?P<suffix>\.tar\.gz|\.tar|)")
"""What an archive is called, and (without a suffix) the folder that one is unpacked into."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An archive on this machine, whose bytes are what its name says. It stands wherever its path may."""

    path: Path
    manifest: Manifest
    sha256: str

    @classmethod
    def open(cls, path: StrPath) -> Archive:
        """Read the archive at *path* whole.

        Raises:
            DeployError: there is no such archive, or it is none.
            IntegrityError: its name or its content is not what it was.
        """
        manifest, sha256 = read_archive(Path(path))
        return cls(path=Path(path), manifest=manifest, sha256=sha256)

    def __fspath__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadArchive:
    """An archive as it was when it was read."""

    path: Path
    manifest: Manifest
    sha256: str
    plain: bool
    """It is a tar without compression."""


def read_archive(archive: Path) -> tuple[Manifest, str]:
    """Return the manifest of *archive* and its sha256, which its name must tell.

    Raises:
        DeployError: there is no such archive, or it is none.
        IntegrityError: its name or its content is not what it was.
    """
    read = open_archive(archive)
    return read.manifest, read.sha256


def open_archive(archive: Path) -> ReadArchive:
    """Read *archive* whole.

    Raises:
        DeployError: there is no such archive, or it is none.
        IntegrityError: its name or its content is not what it was.
    """
    try:
        with open_regular(archive) as file:
            return _read(archive, file)
    except FileNotFoundError:
        raise DeployError(f"archive {archive} does not exist") from None
    except NotRegularError as error:
        raise DeployError(f"{archive} {error.strerror}") from None
    except OSError as error:
        raise DeployError(f"{archive} cannot be read: {error.strerror or error}") from error


def _read(archive: Path, file: BinaryIO) -> ReadArchive:
    head = file.read(512)
    plain = head[:2] != b"\x1f\x8b"
    if plain and head[257:262] != b"ustar":
        raise DeployError(
            f"{archive} is neither a tar archive nor one compressed by gzip: Triton extracts no other",
            hint="archives are made by `envbuilder build`",
        )
    sha256 = _sha256(file)
    named = ARCHIVE.fullmatch(archive.name)
    if named is not None and named["digest"] != sha256[:12]:
        raise IntegrityError(
            f"{archive}: its sha256 begins with {sha256[:12]}, its name says {named['digest']}",
            hint="build it again, or copy it again from where it was built",
        )
    manifest = _find_manifest(archive, plain=plain)
    return ReadArchive(path=archive, manifest=manifest, sha256=sha256, plain=plain)


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def manifest_inside(archive: Path, *, plain: bool) -> bytes | None:
    """Return the text of the manifest in *archive*, which is a *plain* tar or one in gzip; None: there is none.

    Raises:
        IntegrityError: it cannot be read.
    """
    try:
        with TarStream(archive, "none" if plain else "gzip", SILENT) as stream:
            tar = BoundedTar(stream)
            member = next((member for member in tar if member.name == MANIFEST_PATH and member.isreg()), None)
            return None if member is None else tar.content(member, LISTING.size + 1)
    except (EOFError, OSError, ValueError) as error:
        raise IntegrityError(f"{archive} cannot be read: {error}") from error


def _find_manifest(archive: Path, *, plain: bool) -> Manifest:
    """Read the manifest beside *archive*, or else the one inside."""
    beside = manifest_beside(archive)
    if beside.is_file():
        return read_manifest(beside)
    text = manifest_inside(archive, plain=plain)
    if text is not None:
        return parse_manifest(text, where=f"{archive}: {MANIFEST_PATH}")
    raise DeployError(
        f"{archive} has no manifest: neither {beside.name} beside it nor {MANIFEST_PATH} inside",
        hint="archives are made by `envbuilder build`",
    )
