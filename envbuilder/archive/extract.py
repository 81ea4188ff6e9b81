"""Read an archive once, from its first byte to its last, and extract it as Triton's libarchive would.

What no release extracts safely is noted and left out; nothing is ever written outside the folder given.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from envbuilder.archive.reader import BoundedTar, DamagedTarError
from envbuilder.archive.room import DiskRoom
from envbuilder.archive.stream import Compression, TarStream, after_the_end, compression_of, other_filter
from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.files import open_regular

Problem = Literal["parent", "absolute", "hard-link", "device", "outside", "through-link", "twice"]

_ELF: Final = b"\x7fELF"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file or link of an archive."""

    path: str
    mode: int
    size: int
    """Bytes; 0 of a link."""
    sha256: str
    """Of the content; of a link, of its target (as a manifest has it)."""
    link: str | None = None
    elf: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What an archive holds."""

    sha256: str
    size: int
    """Bytes of the archive."""
    compression: Compression
    members: dict[str, Member]
    """Files and links by path."""
    folders: frozenset[str]
    problems: tuple[tuple[Problem, str], ...]
    """What cannot be extracted safely: the kind, and the member with what is wrong."""
    damage: str | None
    """Why it cannot be read to its end; the rest is what was read before."""

    @property
    def unpacked_size(self) -> int:
        """Bytes of all files."""
        return sum(member.size for member in self.members.values())


def extract(archive: Path, into: Path, *, reporter: Reporter = SILENT) -> Contents:
    """Read *archive* whole and extract it into the empty folder *into*.

    Raises:
        VerifyError: there is no such file, or it cannot be written (the disk is full).
    """
    try:
        with open_regular(archive) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(512)
    except OSError as error:
        raise VerifyError(
            f"{archive}: {error.strerror}", hint="archives lie in envs/ after a build"
        ) from error
    compression = compression_of(head)
    extraction = _Extraction(into, DiskRoom(archive, into))
    damage = other_filter(head)
    with TarStream(archive, compression, reporter) as stream:
        if damage is None:
            damage = extraction.read(stream)
        sha256 = stream.finish()
    return Contents(
        sha256=sha256,
        size=size,
        compression=compression,
        members=extraction.members,
        folders=frozenset(extraction.folders),
        problems=tuple(extraction.problems),
        damage=damage,
    )


class _UnsafeError(Exception):
    """A member that no extraction may write."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


class _Extraction:
    """The members written so far."""

    def __init__(self, into: Path, room: DiskRoom) -> None:
        self._into = into
        self._room = room
        self.members: dict[str, Member] = {}
        self.folders: set[str] = set()
        self.problems: list[tuple[Problem, str]] = []
        self._modes: dict[str, int] = {}
        self._links: dict[str, str] = {}

    def read(self, stream: TarStream) -> str | None:
        """Extract every member; return what keeps the archive from being read to its end."""
        try:
            tar = BoundedTar(stream)
            for info in tar:
                self._member(tar, info)
            damage = after_the_end(stream, tar.last)
        except (EOFError, ValueError) as error:
            return str(error)
        except OSError as error:
            raise VerifyError(
                f"the archive cannot be extracted: {error.filename or self._into}: {error.strerror}",
                hint="ENVBUILDER_CACHE names a folder on a larger disk",
            ) from error
        for path, mode in self._modes.items():
            (self._into / path).chmod(mode | 0o700)  # so that the folder can be removed again
        return damage

    def _member(self, tar: BoundedTar, info: tarfile.TarInfo) -> None:
        try:
            path = self._safe_path(info)
        except _UnsafeError as unsafe:
            self.problems.append((unsafe.problem, unsafe.text))
            return
        if path == ".":
            return
        place = self._into / path
        if path in self.members or (path in self.folders and not info.isdir()):
            self.problems.append(("twice", path))
            return
        if info.isdir():
            self._make_folder(path)
            self._modes[path] = info.mode
            return
        self._make_folder(posixpath.dirname(path))
        if info.issym():
            place.symlink_to(info.linkname)
            self._links[path] = info.linkname
            target = hashlib.sha256(info.linkname.encode(errors="surrogateescape")).hexdigest()
            self.members[path] = Member(path=path, mode=info.mode, size=0, sha256=target, link=info.linkname)
            return
        self.members[path] = self._file(tar, info, path, place)

    def _file(self, tar: BoundedTar, info: tarfile.TarInfo, path: str, place: Path) -> Member:
        self._room.take(info.size, info.name)
        digest = hashlib.sha256()
        elf = False
        with place.open("xb") as file:
            for block in tar.chunks(info):
                elf = elf or (file.tell() == 0 and block.startswith(_ELF))
                digest.update(block)
                file.write(block)
            written = file.tell()
        if written != info.size:
            raise DamagedTarError(f"it is truncated: {written} bytes of {info.size}", path)
        place.chmod(info.mode & 0o777)
        os.utime(place, (info.mtime, info.mtime))
        return Member(path=path, mode=info.mode, size=written, sha256=digest.hexdigest(), elf=elf)

    def _make_folder(self, path: str) -> None:
        if path and path not in self.folders:
            (self._into / path).mkdir(parents=True, exist_ok=True)
            self.folders.add(path)

    def _safe_path(self, info: tarfile.TarInfo) -> str:
        """Return where a member goes, links resolved."""
        name = info.name
        if name.startswith("/"):
            raise _UnsafeError("absolute", name)
        if ".." in name.split("/"):
            raise _UnsafeError("parent", name)
        if info.islnk():
            raise _UnsafeError("hard-link", f"{name} (to {info.linkname})")
        if not (info.isreg() or info.isdir() or info.issym()):
            kinds = {
                tarfile.CHRTYPE: "character device",
                tarfile.BLKTYPE: "block device",
                tarfile.FIFOTYPE: "fifo",
            }
            raise _UnsafeError("device", f"{name} ({kinds.get(info.type, f'type {info.type!r}')})")
        path = posixpath.normpath(name)
        folder, base = posixpath.split(path)
        real = self._resolve(folder)
        if real is None:
            raise _UnsafeError("outside", f"{name} (through {self._link_above(folder)})")
        if real != folder:
            self.problems.append(("through-link", f"{name} (through {self._link_above(folder)})"))
        return posixpath.join(real, base)

    def _link_above(self, folder: str) -> str:
        return next(f"{p} -> {self._links[p]}" for p in _parents(folder) if p in self._links)

    def _resolve(self, folder: str) -> str | None:
        """Follow the archive's own links in *folder*; None where they lead out of the environment."""
        for _ in range(40):  # as many links as the kernel follows
            link = next((p for p in _parents(folder) if p in self._links), None)
            if link is None:
                return folder
            target = self._links[link]
            rest = folder[len(link) :].lstrip("/")
            joined = posixpath.normpath(posixpath.join(posixpath.dirname(link), target, rest))
            if target.startswith("/") or joined == ".." or joined.startswith("../"):
                return None
            folder = "" if joined == "." else joined
        return None


def _parents(folder: str) -> Iterator[str]:
    """Yield ``a``, ``a/b``, ``a/b/c`` for ``a/b/c``."""
    parts = folder.split("/") if folder else []
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
