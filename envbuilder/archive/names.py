"""Names of archives and manifests, and how to find one from the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from envbuilder.archive.called import ARCHIVE as ARCHIVE
from envbuilder.archive.called import ENVS as ENVS
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

Describe = Callable[[Path], Manifest | None]
"""Derives a manifest for an archive that has none; None: it is not an environment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An archive on this machine whose bytes match its name. Accepted wherever a path is."""

    path: Path
    manifest: Manifest
    sha256: str

    @classmethod
    def open(cls, path: StrPath) -> Archive:
        """Read and check the whole archive at *path*.

        Raises:
            DeployError: the file does not exist, or is not an archive.
            IntegrityError: its name does not match its content, or it is damaged.
        """
        manifest, sha256 = read_archive(Path(path))
        return cls(path=Path(path), manifest=manifest, sha256=sha256)

    def __fspath__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadArchive:
    """An archive and its state when it was read."""

    path: Path
    manifest: Manifest
    sha256: str
    plain: bool
    """Whether it is a tar without compression."""


def read_archive(archive: Path, *, describe: Describe | None = None) -> tuple[Manifest, str]:
    """Return the manifest of *archive* and its sha256, which its name must contain; see :func:`open_archive`.

    Raises:
        DeployError: the file does not exist, or is not an archive.
        IntegrityError: its name does not match its content, or it is damaged.
    """
    read = open_archive(archive, describe=describe)
    return read.manifest, read.sha256


def open_archive(archive: Path, *, describe: Describe | None = None) -> ReadArchive:
    """Read *archive* whole. If it has no manifest, *describe* derives one.

    Raises:
        DeployError: the file does not exist, or is not an archive.
        IntegrityError: its name does not match its content, or it is damaged.
    """
    try:
        with open_regular(archive) as file:
            return _read(archive, file, describe)
    except FileNotFoundError:
        raise DeployError(f"archive {archive} does not exist") from None
    except NotRegularError as error:
        raise DeployError(f"{archive} {error.strerror}") from None
    except OSError as error:
        raise DeployError(f"{archive} cannot be read: {error.strerror or error}") from error


def _read(archive: Path, file: BinaryIO, describe: Describe | None) -> ReadArchive:
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
            f"{archive}: its name says {named['digest']}, but its sha256 begins with {sha256[:12]}",
            hint="build it again, or copy it again from where it was built",
        )
    manifest = _find_manifest(archive, plain=plain, describe=describe)
    return ReadArchive(path=archive, manifest=manifest, sha256=sha256, plain=plain)


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def manifest_inside(archive: Path, *, plain: bool) -> bytes | None:
    """Return the text of the manifest in *archive*, a *plain* or a gzipped tar; None: there is none.

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


def _find_manifest(archive: Path, *, plain: bool, describe: Describe | None) -> Manifest:
    """Read the manifest beside *archive*, or else the one inside."""
    beside = manifest_beside(archive)
    if beside.is_file():
        return read_manifest(beside)
    text = manifest_inside(archive, plain=plain)
    if text is not None:
        return parse_manifest(text, where=f"{archive}: {MANIFEST_PATH}")
    described = describe(archive) if describe is not None else None
    if described is not None:
        return described
    raise DeployError(
        f"{archive} has no manifest: neither {beside.name} beside it nor {MANIFEST_PATH} inside",
        hint="archives are made by `envbuilder build`",
    )
