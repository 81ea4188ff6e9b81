"""Read an archive once, from the first byte to the last, and extract it as Triton's libarchive would.

Members that no release extracts safely are reported and skipped; nothing is written outside the target folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from envbuilder.archive import limits
from envbuilder.archive.disk_space import DiskRoom
from envbuilder.archive.links import Tree
from envbuilder.archive.reader import BoundedTar, DamagedTarError
from envbuilder.archive.source import open_source
from envbuilder.archive.stream import Compression, TarStream, trailing_data
from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.system_errors import cure

Problem = Literal[
    "name",
    "deep",
    "parent",
    "absolute",
    "hard-link",
    "device",
    "outside",
    "no-folder",
    "through-link",
    "charset",
    "kind",
    "twice",
    "refused",
]

_ELF: Final = b"\x7fELF"
_KINDS: Final = {
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}
_VOLUME_LABEL: Final = b"V"
"""GNU tar's label of an archive, which libarchive passes over."""
_CONVERTED: Final = ("path", "linkpath", "uname", "gname")
"""PAX records that libarchive converts to the server's locale."""
_OF_THE_MEMBER: Final = (
    errno.EEXIST,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
)
"""Errors of the system that are caused by the member, not by the disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file or link of an archive."""

    path: str
    mode: int
    size: int
    """Size in bytes; 0 for a link."""
    sha256: str
    """sha256 of the content, or of a link's target (as in a manifest)."""
    link: str | None = None
    elf: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """The content of an archive."""

    sha256: str
    size: int
    """Size of the archive in bytes."""
    compression: Compression
    members: dict[str, Member]
    """Files and links by path."""
    folders: frozenset[str]
    problems: tuple[tuple[Problem, str], ...]
    """What cannot be extracted safely: the kind of problem, and the member with details."""
    tree: Tree = field(repr=False, compare=False)
    """Resolves paths after extraction."""
    damage: str | None
    """Why it could not be read to the end; the other fields cover what was read before."""
    refused: str | None = None
    """Why Triton does not extract it, regardless of its content."""

    @property
    def unpacked_size(self) -> int:
        """Total size of all files in bytes."""
        return sum(member.size for member in self.members.values())

    @property
    def links_out(self) -> tuple[str, ...]:
        """Links that point outside the environment, with their targets."""
        links = [member for member in self.members.values() if member.link is not None]
        return tuple(f"{one.path} -> {one.link}" for one in links if self.tree.resolve_link(one.path).escapes)


def extract(archive: Path, into: Path, *, reporter: Reporter = SILENT) -> Contents:
    """Read the whole *archive* and extract it into the folder *into*, which must be empty or missing.

    Raises:
        VerifyError: the file does not exist, or extraction fails (for example, the disk is full).
    """
    try:
        source = open_source(archive)
    except OSError as error:
        hint = "`envbuilder build` writes archives to envs/" if error.errno == errno.ENOENT else None
        raise VerifyError(f"{archive}: {error.strerror}", hint=hint) from error
    into.mkdir(parents=True, exist_ok=True)
    extraction = _Extraction(into, DiskRoom(archive, into))
    damage = source.unreadable
    with source.stream(reporter) as stream:
        if damage is None:
            damage = extraction.read(stream)
        sha256 = stream.finish()
    return Contents(
        sha256=sha256,
        size=source.size,
        compression=source.compression,
        members=extraction.members,
        folders=frozenset(extraction.folders),
        problems=tuple(extraction.problems),
        tree=extraction.tree,
        damage=damage,
        refused=source.refused,
    )


class _UnsafeError(Exception):
    """A member that must not be extracted."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


def _too_deep(path: str) -> _UnsafeError:
    return _UnsafeError("deep", f"{path[:80]}… ({path.count('/')} folders deep)")


class _Extraction:
    """The state of an extraction."""

    def __init__(self, into: Path, room: DiskRoom) -> None:
        self._into = into
        self._room = room
        self.tree = Tree()
        self.members: dict[str, Member] = {}
        self.folders: set[str] = set()
        self.problems: list[tuple[Problem, str]] = []
        self._modes: dict[str, int] = {}
        self._real: dict[str, str] = {}
        """Real paths of the folders that were written into, by the path in the member's name."""

    def read(self, stream: TarStream) -> str | None:
        """Extract every member; return why the archive cannot be read to the end, if so."""
        try:
            tar = BoundedTar(stream)
            for info in tar:
                if info.type != _VOLUME_LABEL:
                    self._member(tar, info)
            damage = trailing_data(stream, tar.last)
        except (EOFError, ValueError) as error:
            return str(error)
        except OSError as error:
            raise VerifyError(
                f"the archive cannot be extracted: {error.filename or self._into}: {error.strerror}",
                hint=cure(error, setting="ENVBUILDER_CACHE"),
            ) from error
        for path, mode in self._modes.items():
            (self._into / path).chmod(mode & 0o777 | 0o700)  # so that the folder can be removed again
        return damage

    def _member(self, tar: BoundedTar, info: tarfile.TarInfo) -> None:
        try:
            target = self.members.get(posixpath.normpath(info.linkname)) if info.islnk() else None
            if target is not None:
                self.problems.append(("hard-link", f"{info.name} (to {info.linkname})"))
            else:
                _check_kind(info)
            if _is_inconvertible(info):
                self.problems.append(("charset", info.name))
            path = self._safe_path(info)
            if path != ".":
                self._write(tar, info, path)
        except _UnsafeError as unsafe:
            self.problems.append((unsafe.problem, unsafe.text))
        except OSError as error:
            if error.errno not in _OF_THE_MEMBER:
                raise
            self.problems.append(("refused", f"{info.name} ({error.strerror})"))

    def _write(self, tar: BoundedTar, info: tarfile.TarInfo, path: str) -> None:
        if path.count("/") > limits.DEPTH:
            raise _too_deep(path)
        place = self._into / path
        if self.tree.kind(path) is not None and not (info.isdir() and path in self.folders):
            self._replace(info, path)
        if info.isdir():
            self._make_folder(path)
            self._modes[path] = info.mode
        elif info.issym():
            place.symlink_to(info.linkname)
            self.tree.add_link(path, info.linkname)
            target = hashlib.sha256(info.linkname.encode(errors="surrogateescape")).hexdigest()
            self.members[path] = Member(path=path, mode=info.mode, size=0, sha256=target, link=info.linkname)
        elif info.islnk():
            self._hard_link(info, path, place)
        else:
            self.members[path] = self._file(tar, info, path, place)

    def _hard_link(self, info: tarfile.TarInfo, path: str, place: Path) -> None:
        """Write a hard link to an earlier file as a copy of it."""
        found = self.members[posixpath.normpath(info.linkname)]
        os.link(self._into / found.path, place, follow_symlinks=False)
        if found.link is None:
            self.tree.add_file(path)
        else:
            self.tree.add_link(path, found.link)
        self.members[path] = replace(found, path=path)

    def _replace(self, info: tarfile.TarInfo, path: str) -> None:
        """Remove the file or link *path* for a later one: as libarchive extracts them, the last counts."""
        if path not in self.members or info.isdir() or info.islnk():
            raise _UnsafeError("twice", path)
        self.problems.append(("twice", path))
        (self._into / path).unlink()
        del self.members[path]
        self.tree.remove(path)
        self._real.clear()  # it may have been a link to a folder

    def _file(self, tar: BoundedTar, info: tarfile.TarInfo, path: str, place: Path) -> Member:
        self._room.take(info.size, info.name)
        digest = hashlib.sha256()
        elf = False
        with place.open("xb") as file:
            self.tree.add_file(path)
            for block in tar.chunks(info):
                elf = elf or (file.tell() == 0 and block.startswith(_ELF))
                digest.update(block)
                file.write(block)
            written = file.tell()
        if written != info.size:
            raise DamagedTarError(f"it is truncated: {written} bytes of {info.size}", path)
        place.chmod(info.mode & 0o777 | 0o400)  # the checks must be able to read it
        os.utime(place, (info.mtime, info.mtime))
        return Member(path=path, mode=info.mode, size=written, sha256=digest.hexdigest(), elf=elf)

    def _make_folder(self, path: str) -> None:
        if path not in self.folders:
            if path.count("/") >= limits.DEPTH:
                raise _too_deep(path)
            (self._into / path).mkdir()
            self.tree.add_folder(path)
            self.folders.add(path)

    def _safe_path(self, info: tarfile.TarInfo) -> str:
        """Return the path of a member with links in its folder resolved; create the folders above it."""
        path = posixpath.normpath(info.name)  # equals the kernel's resolution for a name without '..'
        folder, base = posixpath.split(path)
        real = self._real.get(folder)
        if real is None:
            real = self._real[folder] = self._real_folder(info.name, folder)
        if real != folder:
            self.problems.append(("through-link", f"{info.name} (through {self._link_above(folder)})"))
        return posixpath.join(real, base)

    def _real_folder(self, name: str, folder: str) -> str:
        """Resolve the folder of the member *name*, creating missing folders, as an extraction does."""
        real = ""
        for part in folder.split("/") if folder else ():
            place = f"{real}/{part}" if real else part
            found = self.tree.resolve(part, start=real)
            if found.end == "missing" and found.path == place:
                self._make_folder(place)
                real = place
            elif found.end == "folder":
                real = found.path
            elif found.escapes:
                raise _UnsafeError("outside", f"{name} (through {self._link_above(folder)})")
            else:
                raise _UnsafeError("no-folder", f"{name} (through {self._named(place)})")
        return real

    def _link_above(self, folder: str) -> str:
        """Return the first link in the path *folder*, for messages."""
        place = ""
        for part in folder.split("/"):
            place = f"{place}/{part}" if place else part
            if self.tree.kind(place) == "link":
                return self._named(place)
        return folder

    def _named(self, place: str) -> str:
        target = self.tree.target(place)
        return place if target is None else f"{place} -> {target}"


def _check_kind(info: tarfile.TarInfo) -> None:
    """Reject members that are not files, folders or valid links, and those without a name."""
    name = info.name
    if name.startswith("/"):
        raise _UnsafeError("absolute", name)
    if ".." in name.split("/"):
        raise _UnsafeError("parent", name)
    if info.islnk():  # not to an earlier member
        raise _UnsafeError("hard-link", f"{name} (to {info.linkname})")
    if info.type in _KINDS:
        raise _UnsafeError("device", f"{name} ({_KINDS[info.type]})")
    if not (info.isreg() or info.isdir() or info.issym()):
        raise _UnsafeError("kind", f"{name} (type {info.type!r})")
    if info.isreg() and name.endswith("/"):
        raise _UnsafeError("kind", f"{name} (a file, with the name of a folder)")
    if not name:
        raise _UnsafeError("name", "a member without a name")
    if info.issym() and not info.linkname:
        raise _UnsafeError("name", f"{name} (a link to nothing)")


def _is_inconvertible(info: tarfile.TarInfo) -> bool:
    """Return whether a PAX record of *info* is beyond ASCII, and is not said to be mere bytes.

    *Measured* (24.10): libarchive converts such a record to the server's locale, C, which is an error to Triton.
    """
    records = info.pax_headers
    if records.get("hdrcharset") == "BINARY":
        return False
    return not all(records.get(key, "").isascii() for key in _CONVERTED)
