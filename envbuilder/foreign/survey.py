"""Read an environment in any container once: its files, their metadata, the requirements of its ELF files."""

from __future__ import annotations

import hashlib
import posixpath
import re
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from envbuilder.archive.elf import MAGIC, ElfFacts, highest_defined, read_elf
from envbuilder.archive.extract import Member
from envbuilder.archive.limits import TEXTS
from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.source import Source, open_source
from envbuilder.archive.stream import Compression, trailing_data
from envbuilder.errors import IntegrityError
from envbuilder.foreign.packages import SITE
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import LISTING
from envbuilder.util.files import read_regular
from envbuilder.util.text import human

_LICENCE_NAME: Final = r"(?i:licen[cs]e|copying|notice|eula)[^/]*"
_WANTED: Final = re.compile(
    rf"{SITE}/(?:.*/)?[^/]+\.(?:dist-info|egg-info)/"
    rf"(?:sboms/.+|METADATA|PKG-INFO|RECORD|installed-files\.txt|WHEEL|REQUESTED|direct_url\.json|{_LICENCE_NAME}|licenses/.+)"
    rf"|{SITE}/[^/]+\.(?:egg-info|pth|egg-link)"
    rf"|{SITE}/torch/version\.py|{SITE}/numpy/_?version\.py"
    r"|lib/python3\.\d+/LICENSE\.txt"
    r"|conda-meta/[^/]+\.json"
    r"|pyvenv\.cfg|bin/activate|bin/conda-unpack"
    r"|include/python3\.\d+/patchlevel\.h"
)
_WHOLE: Final = re.compile(
    r".*/(?:METADATA|PKG-INFO|RECORD)|.*\.json|.*\.dist-info/sboms/.+|bin/conda-unpack"
)
OWN: Final = "share/envbuilder/"
"""The files that ``envbuilder build`` puts into every archive."""
_HEAD: Final = 2**16
"""How many bytes of licence files and other short files are read."""
_LIBSTDCXX: Final = re.compile(r"lib/libstdc\+\+\.so\.6[.\d]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The content of an environment. Paths are relative to it, even if the archive has a folder around it."""

    name: str
    """Its name, from its file or folder."""
    sha256: str
    """sha256 of the archive, or of the tar of a folder."""
    size: int
    """Size of the archive in bytes; 0 for a folder."""
    compression: Compression
    refused: str | None
    """Why Triton does not extract it, regardless of its content."""
    around: str
    """The folder around everything in the archive; empty if there is none."""
    members: Mapping[str, Member]
    """Files and links."""
    texts: Mapping[str, bytes]
    """Its metadata files, by path."""
    elf: Mapping[str, ElfFacts]
    libstdcxx: str | None
    """Highest ``GLIBCXX_`` version of a libstdc++ in ``lib/``."""


def survey(path: Path, *, reporter: Reporter = SILENT) -> Survey:
    """Read the archive or the folder *path* once, from its first byte to its last.

    Raises:
        IntegrityError: it does not exist, or cannot be read to its end.
    """
    try:
        source = open_source(path)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}") from error
    reading = _Reading()
    try:
        with source.stream(reporter) as stream:
            damage = source.unreadable
            if damage is None:
                tar = BoundedTar(stream)
                for member in tar:
                    reading.add(tar, member)
                damage = trailing_data(stream, tar.last)
            sha256 = stream.finish()
    except (OSError, EOFError, ValueError) as error:
        damage = getattr(error, "strerror", None) or str(error)
    if damage is not None:
        raise IntegrityError(f"{path}: {damage}", hint="copy it again, or pack the environment again")
    return reading.surveyed(source, sha256)


def survey_of_folder(
    environment: Path,
    members: Mapping[str, Member],
    elf: Mapping[str, ElfFacts],
    *,
    libstdcxx: str | None,
    source: tuple[Path, str, int],
) -> Survey:
    """Return the survey of an archive whose *members* were extracted into *environment*; *elf* was read of them.

    *source* is the path, the sha256 and the bytes of the archive.

    Raises:
        OSError: a file of it cannot be read.
    """
    texts = {
        path: read_regular(environment / path, most=_bound(path))
        for path, member in members.items()
        if member.link is None and _WANTED.fullmatch(path)
    }
    return Survey(
        name=name_of(source[0]),
        sha256=source[1],
        size=source[2],
        compression="none",
        refused=None,
        around="",
        members=members,
        texts=texts,
        elf=elf,
        libstdcxx=libstdcxx,
    )


def is_foreign(members: Iterable[str]) -> bool:
    """Return whether the files *members* are an environment with a Python that another tool made."""
    paths = list(members)
    ours = any(path.startswith(OWN) for path in paths)
    return not ours and any(
        path.startswith(("lib/python3.", "conda-meta/")) or path == "pyvenv.cfg" for path in paths
    )


def is_environment(folder: Path) -> bool:
    """Return whether *folder* is a conda prefix, a venv, or an unpacked one."""
    marks = ("conda-meta", "pyvenv.cfg", "bin/activate", "bin/python3", OWN)
    return any((folder / mark).exists() or (folder / mark).is_symlink() for mark in marks)


class _Reading:
    """The state of the survey."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.texts: dict[str, bytes] = {}
        self.elf: dict[str, ElfFacts] = {}
        self.libstdcxx: dict[str, str | None] = {}
        self._first = ""
        """The path of the first member: every folder around everything is in it."""
        self._left = TEXTS

    def add(self, tar: BoundedTar, info: tarfile.TarInfo) -> None:
        path = posixpath.normpath(info.name)
        if path.startswith(("/", "../")) or path == "..":
            return  # not an environment's; verification reports it
        self._first = self._first or path.removeprefix(".")
        if info.issym():
            digest = hashlib.sha256(info.linkname.encode(errors="surrogateescape")).hexdigest()
            self.members[path] = Member(path=path, mode=info.mode, size=0, sha256=digest, link=info.linkname)
        elif info.islnk():
            self._hard_link(path, posixpath.normpath(info.linkname))
        elif info.isreg():
            self._file(tar, info, path)

    def _hard_link(self, path: str, target: str) -> None:
        found = self.members.get(target)
        if found is not None:
            self.members[path] = Member(
                path=path,
                mode=found.mode,
                size=found.size,
                sha256=found.sha256,
                link=found.link,
                elf=found.elf,
            )
            for kept in (self.texts, self.elf):
                if target in kept:
                    kept[path] = kept[target]  # type: ignore[assignment]  # each of its own kind

    def _file(self, tar: BoundedTar, info: tarfile.TarInfo, path: str) -> None:
        digest, text, keep = hashlib.sha256(), bytearray(), _bound(path)
        chunks = tar.chunks(info)
        head = next(chunks, b"")
        with tempfile.TemporaryFile() if head.startswith(MAGIC) else _Nowhere() as file:
            for block in _with_first(head, chunks):
                digest.update(block)
                file.write(block)
                if len(text) < keep:
                    text += block[: keep - len(text)]
            if head.startswith(MAGIC):
                self._elf(path, file)  # type: ignore[arg-type]  # it is the temporary file
        self.members[path] = Member(
            path=path,
            mode=info.mode,
            size=info.size,
            sha256=digest.hexdigest(),
            elf=head.startswith(MAGIC),
        )
        if self._is_wanted(path):
            self._left -= len(text)
            if self._left < 0:
                raise ValueError(f"the metadata of its packages takes more than {human(TEXTS)}")
            self.texts[path] = bytes(text)

    def _is_wanted(self, path: str) -> bool:
        """Return whether *path* is a metadata file: in a folder around everything, which is only known at the end."""
        if _WANTED.fullmatch(path):
            return True
        folders = posixpath.commonpath([path, self._first]).count("/") + 1
        parts = path.split("/")
        return any(_WANTED.fullmatch("/".join(parts[n:])) for n in range(1, min(folders, len(parts) - 1) + 1))

    def _elf(self, path: str, file: IO[bytes]) -> None:
        facts = read_elf(file)  # type: ignore[arg-type]  # a binary file
        if facts is not None:
            self.elf[path] = facts
            if facts.provides_glibcxx:
                self.libstdcxx[path] = highest_defined(file, "GLIBCXX_")  # type: ignore[arg-type]

    def surveyed(self, source: Source, sha256: str) -> Survey:
        around = folder_around(self.members)
        bare = len(around) + 1 if around else 0

        def inside(found: Mapping[str, object]) -> dict[str, object]:
            return {path[bare:]: value for path, value in found.items()}

        members = {
            path[bare:]: Member(
                path=path[bare:], mode=one.mode, size=one.size, sha256=one.sha256, link=one.link, elf=one.elf
            )
            for path, one in self.members.items()
        }
        known = [
            v for path, v in self.libstdcxx.items() if _LIBSTDCXX.fullmatch(path[bare:]) and v is not None
        ]
        texts = {path[bare:]: text for path, text in self.texts.items() if _WANTED.fullmatch(path[bare:])}
        return Survey(
            name=name_of(source.path),
            sha256=sha256,
            size=source.size,
            compression=source.compression,
            refused=source.refused,
            around=around,
            members=members,
            texts=texts,
            elf={path[bare:]: facts for path, facts in self.elf.items()},
            libstdcxx=known[0] if known else None,
        )


class _Nowhere:
    """A file whose content is not kept."""

    def __enter__(self) -> _Nowhere:
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, _: bytes) -> None: ...


def _with_first(first: bytes, rest: Iterable[bytes]) -> Iterable[bytes]:
    yield first
    yield from rest


def _bound(path: str) -> int:
    return LISTING.size + 1 if _WHOLE.fullmatch(path) else _HEAD


def folder_around(paths: Iterable[str]) -> str:
    """Return the folder that contains all *paths*, if it is an environment; otherwise empty.

    It may be in others: ``tar -czf env.tar.gz /opt/env`` packs ``opt/env``.
    """
    around, inside = "", list(paths)
    while len(tops := {path.partition("/")[0] for path in inside}) == 1 and "site-packages" not in tops:
        (top,) = tops
        around = posixpath.join(around, top)
        inside = [path[len(top) + 1 :] for path in inside if "/" in path]
        within = {path.partition("/")[0] for path in inside}
        if within & {"lib", "conda-meta", "pyvenv.cfg"} and "bin" in within:
            return around
    return ""


def name_of(path: Path) -> str:
    """Return an environment's name, from its file or folder: letters, digits, - and _."""
    name = re.sub(r"\.(tar(\.\w+)?|tgz|tbz2?|txz|zip)$", "", path.absolute().name)
    name = re.sub(r"-[0-9a-f]{12}$", "", name)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:200] or "environment"
