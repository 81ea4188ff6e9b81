"""Read an archive once, from its first byte to its last, and extract it as Triton's libarchive would.

What no release extracts safely is noted and left out; nothing is ever written outside the folder given.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import queue
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from zlib_ng import zlib_ng

from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT, Reporter

Problem = Literal["parent", "absolute", "hard-link", "device", "outside", "through-link", "twice"]
Compression = Literal["gzip", "none"]

_BLOCK: Final = 2**18
_LARGEST: Final = 2**20
"""Bytes of a decompressed block."""
_AHEAD: Final = 64
"""Blocks that decompression may be ahead of writing: bounds the memory."""
_ELF: Final = b"\x7fELF"
_OTHER_FILTERS: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
}


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
        size = archive.stat().st_size
        with archive.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise VerifyError(
            f"{archive}: {error.strerror}", hint="archives lie in envs/ after a build"
        ) from error
    compression: Compression = "gzip" if head[:2] == b"\x1f\x8b" else "none"
    extraction = _Extraction(into)
    damage = _other_filter(head)
    stream = _Stream(archive, compression, reporter)
    with stream:
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


def _other_filter(head: bytes) -> str | None:
    for magic, name in _OTHER_FILTERS.items():
        if head.startswith(magic):
            return f"it is compressed by {name}; Triton's libarchive reads gzip and plain tar"
    return "it is empty" if not head else None


class _Stream:
    """The bytes of the tar, decompressed and the archive hashed by a thread that reads ahead."""

    def __init__(self, archive: Path, compression: Compression, reporter: Reporter) -> None:
        self._archive = archive
        self._compressed = compression == "gzip"
        self._reporter = reporter
        self._blocks: queue.Queue[bytes | Exception | None] = queue.Queue(_AHEAD)
        self._hash = hashlib.sha256()
        self._left = b""
        self._ended = False
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._drain()
        self._thread.join()

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, fewer only at the end."""
        parts, missing = [], size
        while missing and self._error is None:
            if not self._left:
                block = None if self._ended else self._blocks.get()
                if block is None:
                    self._ended = True
                    break
                if isinstance(block, Exception):
                    self._error = block
                    break
                self._left = block
            parts.append(self._left[:missing])
            self._left = self._left[missing:]
            missing -= len(parts[-1])
        if self._error is not None and not parts:  # what came before the damage is worth having
            raise self._error
        return b"".join(parts)

    def finish(self) -> str:
        """Read what is left of the archive; return its sha256."""
        self._drain()
        self._thread.join()
        return self._hash.hexdigest()

    def _drain(self) -> None:
        while not self._ended:
            self._ended = self._blocks.get() is None

    def _produce(self) -> None:
        gunzip = _Gunzip() if self._compressed else None
        damaged = False
        try:
            with (
                self._archive.open("rb") as file,
                self._reporter.task(f"Reading {self._archive.name}", self._archive.stat().st_size) as task,
            ):
                while data := file.read(_BLOCK):
                    self._hash.update(data)
                    task.advance(len(data))
                    try:
                        for block in () if damaged else gunzip.feed(data) if gunzip else (data,):
                            self._put(block)
                    except ValueError as error:
                        self._put(error)
                        damaged = True  # its hash is asked all the same
                if gunzip is not None and not damaged and gunzip.within_member:
                    self._put(EOFError("it is truncated: its gzip stream has no end"))
        except OSError as error:
            self._put(error)
        finally:
            self._put(None)

    def _put(self, block: bytes | Exception | None) -> None:
        if block is None or isinstance(block, Exception) or (block and not self._stopped.is_set()):
            self._blocks.put(block)


class _Gunzip:
    """Decompresses any number of gzip members, a bounded block at a time: a small file may hold a huge one."""

    def __init__(self) -> None:
        self._member = zlib_ng.decompressobj(wbits=31)
        self._over = False
        self.within_member = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the archive hold.

        Raises:
            ValueError: the stream is damaged.
        """
        full = False
        while (data or full) and not self._over:
            try:
                block = self._member.decompress(data, _LARGEST)
            except zlib_ng.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
                # libarchive, as gzip does, takes zeros after the last member for padding.
                if self.within_member or data.strip(b"\0"):
                    raise ValueError(f"its gzip stream is damaged: {error}") from error
                self._over = True
                return
            if block:
                yield block
            full = len(block) == _LARGEST
            self.within_member = not self._member.eof
            data = self._member.unconsumed_tail
            if self._member.eof:
                data, full = self._member.unused_data, False
                self._member = zlib_ng.decompressobj(wbits=31)


class _UnsafeError(Exception):
    """A member that no extraction may write."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


class _Extraction:
    """The members written so far."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self.members: dict[str, Member] = {}
        self.folders: set[str] = set()
        self.problems: list[tuple[Problem, str]] = []
        self._modes: dict[str, int] = {}
        self._links: dict[str, str] = {}

    def read(self, stream: _Stream) -> str | None:
        """Extract every member; return what keeps the archive from being read to its end."""
        last = "its first header"
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as tar:  # type: ignore[call-overload]  # only read() is asked
                for info in tar:
                    last = info.name
                    self._member(tar, info)
                    tar.members = []  # tarfile keeps every header otherwise
                damage = _after_the_end(tar, last)
        except (tarfile.TarError, EOFError, ValueError) as error:
            return f"{error} (at {last})"
        except OSError as error:
            raise VerifyError(
                f"the archive cannot be extracted: {error.filename or self._into}: {error.strerror}",
                hint="ENVBUILDER_CACHE names a folder on a larger disk",
            ) from error
        for path, mode in self._modes.items():
            (self._into / path).chmod(mode | 0o700)  # so that the folder can be removed again
        return damage

    def _member(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
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

    def _file(self, tar: tarfile.TarFile, info: tarfile.TarInfo, path: str, place: Path) -> Member:
        source = tar.extractfile(info)
        assert source is not None  # a regular file has content
        digest = hashlib.sha256()
        elf = False
        with place.open("xb") as file:
            for block in iter(lambda: source.read(_BLOCK), b""):
                elf = elf or (file.tell() == 0 and block.startswith(_ELF))
                digest.update(block)
                file.write(block)
            written = file.tell()
        if written != info.size:
            raise EOFError(f"it is truncated: {path} has {written} of its {info.size} bytes")
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


def _after_the_end(tar: tarfile.TarFile, last: str) -> str | None:
    """Read on after the last member: a tar ends with zeros, and one that was cut between members has none."""
    stream = tar.fileobj
    assert stream is not None
    length = 0
    while block := stream.read(_BLOCK):
        length += len(block)
        if block.strip(b"\0"):
            return f"there is no readable header after {last}"
    return None if length else f"it is truncated: it ends after {last}, with no end of a tar"
