"""Read an archive once, from its first byte to its last, and extract it as Triton's libarchive would.

What no release extracts safely is noted and left out; nothing is ever written outside the folder given.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from envbuilder.archive import limits
from envbuilder.archive.links import Tree
from envbuilder.archive.reader import BoundedTar, DamagedTarError
from envbuilder.archive.room import DiskRoom
from envbuilder.archive.stream import Compression, TarStream, after_the_end, compression_of, other_filter
from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.files import open_regular
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
    "twice",
    "refused",
]

_ELF: Final = b"\x7fELF"
_KINDS: Final = {
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}
_OF_THE_MEMBER: Final = (
    errno.EEXIST,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
)
"""What the system says where the member is at fault, and not the disk."""


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
    tree: Tree = field(repr=False, compare=False)
    """Where paths lead once all is extracted."""
    damage: str | None
    """Why it cannot be read to its end; the rest is what was read before."""

    @property
    def unpacked_size(self) -> int:
        """Bytes of all files."""
        return sum(member.size for member in self.members.values())

    @property
    def links_out(self) -> tuple[str, ...]:
        """Links that lead out of the environment, with their targets."""
        links = [member for member in self.members.values() if member.link is not None]
        return tuple(f"{one.path} -> {one.link}" for one in links if self.tree.resolve_link(one.path).escapes)


def extract(archive: Path, into: Path, *, reporter: Reporter = SILENT) -> Contents:
    """Read *archive* whole and extract it into the folder *into*, which is empty or made.

    Raises:
        VerifyError: there is no such file, or it cannot be written (the disk is full).
    """
    try:
        with open_regular(archive) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(512)
    except OSError as error:
        hint = "archives lie in envs/ after a build" if error.errno == errno.ENOENT else None
        raise VerifyError(f"{archive}: {error.strerror}", hint=hint) from error
    into.mkdir(parents=True, exist_ok=True)
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
        tree=extraction.tree,
        damage=damage,
    )


class _UnsafeError(Exception):
    """A member that no extraction may write."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


def _too_deep(path: str) -> _UnsafeError:
    return _UnsafeError("deep", f"{path[:80]}… ({path.count('/')} folders deep)")


class _Extraction:
    """The members written so far."""

    def __init__(self, into: Path, room: DiskRoom) -> None:
        self._into = into
        self._room = room
        self.tree = Tree()
        self.members: dict[str, Member] = {}
        self.folders: set[str] = set()
        self.problems: list[tuple[Problem, str]] = []
        self._modes: dict[str, int] = {}
        self._real: dict[str, str] = {}
        """Real paths of the folders that members were written into, by the path that their names say."""

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
                hint=cure(error, setting="ENVBUILDER_CACHE"),
            ) from error
        for path, mode in self._modes.items():
            (self._into / path).chmod(mode & 0o777 | 0o700)  # so that the folder can be removed again
        return damage

    def _member(self, tar: BoundedTar, info: tarfile.TarInfo) -> None:
        try:
            _check_kind(info)
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
            raise _UnsafeError("twice", path)
        if info.isdir():
            self._make_folder(path)
            self._modes[path] = info.mode
        elif info.issym():
            place.symlink_to(info.linkname)
            self.tree.add_link(path, info.linkname)
            target = hashlib.sha256(info.linkname.encode(errors="surrogateescape")).hexdigest()
            self.members[path] = Member(path=path, mode=info.mode, size=0, sha256=target, link=info.linkname)
        else:
            self.members[path] = self._file(tar, info, path, place)

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
        place.chmod(info.mode & 0o777 | 0o400)  # every check reads it, whoever runs them
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
        """Return where a member goes, links in its folder resolved; the folders above it are there afterwards."""
        path = posixpath.normpath(info.name)  # of a name without '..' that is what the kernel makes of it
        folder, base = posixpath.split(path)
        real = self._real.get(folder)
        if real is None:
            real = self._real[folder] = self._real_folder(info.name, folder)
        if real != folder:
            self.problems.append(("through-link", f"{info.name} (through {self._link_above(folder)})"))
        return posixpath.join(real, base)

    def _real_folder(self, name: str, folder: str) -> str:
        """Resolve the folder of the member *name*, making what of it is not there, as an extraction does."""
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
        """Name the first link that stands in the path *folder*."""
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
    """Refuse what is no file, folder or link that an environment may have, and what has no name."""
    name = info.name
    if name.startswith("/"):
        raise _UnsafeError("absolute", name)
    if ".." in name.split("/"):
        raise _UnsafeError("parent", name)
    if info.islnk():
        raise _UnsafeError("hard-link", f"{name} (to {info.linkname})")
    if not (info.isreg() or info.isdir() or info.issym()):
        raise _UnsafeError("device", f"{name} ({_KINDS.get(info.type, f'type {info.type!r}')})")
    if not name:
        raise _UnsafeError("name", "a member without a name")
    if info.issym() and not info.linkname:
        raise _UnsafeError("name", f"{name} (a link to nothing)")
