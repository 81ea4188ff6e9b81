"""Converts environments in other containers than a plain or gzipped tar to a tar.

Triton does not extract these, but they exist (conda-pack writes most of them) and can be inspected. Block sizes are
bounded, so that memory use does not depend on the input.
"""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal, Protocol

from envbuilder.archive.limits import MEMBERS, PATH
from envbuilder.archive.reader import StreamError
from envbuilder.util.extras import installing
from envbuilder.util.files import open_regular
from envbuilder.util.printable import shown
from envbuilder.util.zips import check_directory

Other = Literal["bzip2", "xz", "zstd", "zip", "folder"]

_BLOCK: Final = 2**18
_LARGEST: Final = 2**20
"""Bytes of a decompressed block."""
_XZ_MEMORY: Final = 256 * 2**20
"""Memory limit of the xz decompressor; its highest preset needs 65 MiB."""
_ZSTD_WINDOW: Final = 2**27
"""Largest zstd window: the default limit of the zstd tool."""
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


class _Decompressor(Protocol):
    """The common interface of the decompressors of :mod:`bz2` and :mod:`lzma`."""

    @property
    def eof(self) -> bool: ...  # as there
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def unpacked(kind: Other, archive: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield *archive*, open as *file* (None for a folder), converted to a tar.

    Raises:
        StreamError: it is damaged or inconsistent.
        OSError: it cannot be read.
    """
    if kind == "folder":
        return tar_of_folder(archive)
    if kind == "zip":
        return _tar_of_zip(file)
    if kind == "zstd":
        return _zstd(file)
    if kind == "xz":
        return _streams(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), kind)
    return _streams(file, bz2.BZ2Decompressor, kind)


def _streams(file: BinaryIO, start: Callable[[], _Decompressor], kind: str) -> Iterator[bytes]:
    """Yield the decompressed content of concatenated streams."""
    current, data = start(), b""
    began = False
    try:
        while True:
            if not data and current.needs_input:
                data = file.read(_BLOCK)
                if not data:
                    break
            block = current.decompress(data, _LARGEST)
            data, began = b"", True
            if block:
                yield block
            if current.eof:
                data = current.unused_data.lstrip(b"\0") or file.read(_BLOCK).lstrip(b"\0")
                current, began = start(), False
                if not data:
                    return
    except (OSError, EOFError, ValueError, lzma.LZMAError, MemoryError) as error:
        raise StreamError(f"its {kind} stream is damaged: {error}") from error
    if began:
        raise StreamError(f"it is truncated: its {kind} stream is incomplete")


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise StreamError(
            f"it is compressed with zstd, which requires zstandard; {installing('conda')}"
        ) from None
    try:
        with zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
            file, read_across_frames=True, closefd=False
        ) as reader:
            while block := reader.read(_LARGEST):
                yield block
    except zstandard.ZstdError as error:
        raise StreamError(f"its zstd stream is damaged: {error}") from error


def _tar_of_zip(file: BinaryIO) -> Iterator[bytes]:
    try:
        check_directory(file)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise StreamError(f"it has more than {MEMBERS:,} members")
            for member in members:
                yield from _zip_member(archive, member)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise (
            error if isinstance(error, StreamError) else StreamError(f"its zip is damaged: {error}")
        ) from error
    yield _END


def _zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    info = tarfile.TarInfo(member.filename.rstrip("/"))
    mode = member.external_attr >> 16
    info.mode = stat.S_IMODE(mode) or (0o755 if member.is_dir() else 0o644)
    if member.is_dir():
        info.type = tarfile.DIRTYPE
        yield _header(info)
    elif stat.S_ISLNK(mode):
        with archive.open(member) as content:
            info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(content.read(PATH + 1))
        yield _header(info)
    else:
        info.size = member.file_size
        yield _header(info)
        with archive.open(member) as content:
            yield from _content(content, info)  # type: ignore[arg-type]  # it has a file's read method


def tar_of_folder(folder: Path) -> Iterator[bytes]:
    """Yield the tar of *folder*: the same bytes for the same content.

    Links are kept as links; other file types are skipped.

    Raises:
        OSError: it cannot be read.
        StreamError: it changed while it was being read, or exceeds the limits.
    """
    for count, (path, entry) in enumerate(_walk(folder, "")):
        if count >= MEMBERS:
            raise StreamError(f"it has more than {MEMBERS:,} files")
        status = entry.stat(follow_symlinks=False)
        info = tarfile.TarInfo(path)
        info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            yield _header(info)
        elif stat.S_ISLNK(status.st_mode):
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(entry.path), 0o777
            yield _header(info)
        elif stat.S_ISREG(status.st_mode):
            with open_regular(Path(entry.path)) as file:
                info.size = os.fstat(file.fileno()).st_size
                yield _header(info)
                yield from _content(file, info)
    yield _END


def _walk(folder: Path, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{below}{entry.name}"
        yield path, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, f"{path}/")


def _header(info: tarfile.TarInfo) -> bytes:
    # A server cannot convert PAX records beyond ASCII to its locale; GNU's have no character set.
    plain = (info.name + info.linkname).isascii()
    return info.tobuf(tarfile.PAX_FORMAT if plain else tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _content(file: BinaryIO, info: tarfile.TarInfo) -> Iterator[bytes]:
    left = info.size
    while left:
        block = file.read(min(left, _LARGEST))
        if not block:
            raise StreamError(f"{shown(info.name)} has {info.size - left} bytes; expected {info.size}")
        left -= len(block)
        yield block
    yield bytes(-info.size % tarfile.BLOCKSIZE)
