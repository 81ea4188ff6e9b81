"""``envbuilder size``: measure what takes space in an archive.

The archive is inflated once. Pairs of offsets in archive and tar are recorded every few hundred kilobytes and at
the end of each gzip member, so that the compressed size of any range of the tar is known.
"""

from __future__ import annotations

import csv
import io
import itertools
import posixpath
import struct
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.exclude import rule_of
from envbuilder.archive.limits import MEMBERS
from envbuilder.archive.manifest import MANIFEST_PATH, ManifestExclusion, parse_manifest
from envbuilder.archive.reader import BoundedTar
from envbuilder.archive.source import open_source
from envbuilder.archive.stream import Positions, trailing_data
from envbuilder.errors import IntegrityError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import LISTING, parse_json
from envbuilder.util.text import human

GPU_CODE: Final = "GPU code"
HOST_CODE: Final = "host code"
PYTHON: Final = "Python"
BYTECODE: Final = "bytecode"
HEADERS: Final = "headers"
DATA: Final = "data"
KINDS: Final = (GPU_CODE, HOST_CODE, PYTHON, BYTECODE, HEADERS, DATA)

INTERPRETER: Final = "(interpreter)"
OTHERS_OWN: Final = "(activation)"
"""Files that another tool added: activation, and its records."""
OWN: Final = "(envbuilder)"
"""Files that this tool adds: activation, manifest."""
_OWN_PATHS: Final = ("bin/activate", "bin/deactivate", "conda-meta/", "share/envbuilder/")

_MOST_OWNED: Final = 2 * MEMBERS
"""Most paths in the file lists of all packages: each file is in one, and some lists name excluded files."""
_MOST_RANGES: Final = 200_000
"""Most containers of GPU code in an archive: the largest library has a few thousand."""
_SUFFIXES: Final = {
    **dict.fromkeys((".py", ".pyi"), PYTHON),
    ".pyc": BYTECODE,
    **dict.fromkeys((".h", ".hh", ".hpp", ".hxx", ".cuh", ".inl"), HEADERS),
    **dict.fromkeys((".cubin", ".fatbin", ".ptx", ".bc"), GPU_CODE),
    ".a": HOST_CODE,
}
_ELF: Final = b"\x7fELF"
_FATBIN: Final = struct.Struct("<IHHQ")
"""Header of a container of GPU code, from ``fatbinary.h`` of CUDA: magic, version, sizes of header and content."""
_FATBIN_MAGIC: Final = b"\x50\xed\x55\xba"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """The size of one kind in one package."""

    package: str
    kind: str
    packed: int
    """Bytes of the archive."""
    unpacked: int
    """Bytes of the files."""
    files: int
    """A library with GPU code and host code counts as one file of the larger kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The sizes of an archive's content."""

    archive: Path
    packed: int
    """Size of the archive in bytes: the sum of the cells."""
    unpacked: int
    """Size of the files in bytes: the sum of the cells."""
    cells: tuple[Cell, ...]
    """Largest first."""
    excluded: tuple[ManifestExclusion, ...]
    """The exclusions in the manifest."""

    def by_package(self) -> list[Cell]:
        """Return a sum for each package, largest first; its kind is empty."""
        return _sums((cell.package, "", cell) for cell in self.cells)

    def by_kind(self) -> list[Cell]:
        """Return a sum for each kind, largest first; its package is empty."""
        return _sums(("", cell.kind, cell) for cell in self.cells)

    def tables(self) -> list[tuple[str, list[tuple[str, str, str, str, str]]]]:
        """Return tables for display: a title, and rows of name, packed, share, unpacked, files."""
        total = Cell(
            package="",
            kind="",
            packed=self.packed,
            unpacked=self.unpacked,
            files=sum(cell.files for cell in self.cells),
        )
        tables = [
            ("package", [self._row(cell.package, cell) for cell in self.by_package()]),
            ("kind", [self._row(cell.kind, cell) for cell in self.by_kind()]),
        ]
        for _, rows in tables:
            rows.append(self._row("total", total))
        left_out = [(name, "", "", human(size), str(files)) for name, files, size in savings(self.excluded)]
        return [*tables, ("left out", left_out)] if left_out else tables

    def _row(self, name: str, cell: Cell) -> tuple[str, str, str, str, str]:
        share = f"{100 * cell.packed / max(self.packed, 1):.1f} %"
        return name, human(cell.packed), share, human(cell.unpacked), str(cell.files)


def savings(excluded: Iterable[ManifestExclusion]) -> list[tuple[str, int, int]]:
    """Return what each rule excluded from an archive: its name, files, bytes; largest first."""
    sums: dict[str, tuple[int, int]] = {}
    for one in excluded:
        name = rule_of(one.pattern)
        files, size = sums.get(name, (0, 0))
        sums[name] = (files + one.files, size + one.size)
    return sorted(((name, *both) for name, both in sums.items()), key=lambda row: (-row[2], row[0]))


def measure(archive: Path, *, reporter: Reporter = SILENT) -> Sizes:
    """Read the whole *archive*, and return the sizes of its content.

    Raises:
        IntegrityError: it cannot be read to its end.
    """
    positions = Positions()
    contents = _Contents()
    try:
        source = open_source(archive)
        if (why := source.unreadable) is not None:
            raise ValueError(why)
        with source.stream(reporter, positions=positions) as stream:
            tar = BoundedTar(stream)
            for member in tar:
                contents.add(tar, member)
            if (why := trailing_data(stream, tar.last)) is not None:
                raise ValueError(why)
            cells = contents.cells(positions)
    except (OSError, EOFError, ValueError) as error:
        raise IntegrityError(
            f"{archive} cannot be read to its end: {getattr(error, 'strerror', None) or error}",
            hint="expected a tar, plain or compressed with gzip, as `envbuilder build` writes it",
        ) from error
    return Sizes(
        archive=archive,
        packed=sum(cell.packed for cell in cells),
        unpacked=sum(cell.unpacked for cell in cells),
        cells=tuple(cells),
        excluded=contents.excluded,
    )


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    start: int
    """Offset of its header in the tar."""
    size: int
    kind: str
    gpu: tuple[tuple[int, int], ...]
    """Ranges of the tar with GPU code, if that is not the whole file."""


class _Contents:
    """The members of a tar: files, their packages, and exclusions."""

    def __init__(self) -> None:
        self.excluded: tuple[ManifestExclusion, ...] = ()
        self._files: list[_File] = []
        self._owners: dict[str, str] = {}
        self._is_ours = self._is_foreign = False
        self._ranges = 0

    def add(self, tar: BoundedTar, member: tarfile.TarInfo) -> None:
        """Add one member."""
        if member.isdir():
            return
        path = posixpath.normpath(member.name)
        self._is_ours = self._is_ours or path == MANIFEST_PATH
        self._is_foreign = self._is_foreign or path == "pyvenv.cfg" or path.startswith("conda-meta/")
        kind, gpu = DATA, []
        if member.isreg():
            kind = _kind(path)
            if self._tells_of_others(path):
                self._read_owners(path, tar.content(member, LISTING.size + 1))
            else:
                chunks = tar.chunks(member)
                head = next(chunks, b"")
                if head.startswith(_ELF):
                    kind = HOST_CODE
                    ranges = itertools.islice(
                        _gpu_ranges(itertools.chain([head], chunks), member.size), _MOST_RANGES + 1
                    )
                    gpu = [(member.offset_data + start, member.offset_data + end) for start, end in ranges]
                    self._ranges += len(gpu)
                    if self._ranges > _MOST_RANGES:
                        raise ValueError(f"it holds more than {_MOST_RANGES:,} containers of GPU code")
        self._files.append(_File(path, member.offset, member.size, kind, tuple(gpu)))

    def cells(self, positions: Positions) -> list[Cell]:
        """Return the sums by package and kind, largest first. Each byte of the archive is in one of them."""
        end = positions.unpacked
        parts = []
        for file, following in zip(
            self._files, [*(file.start for file in self._files[1:]), end], strict=True
        ):
            package = self._owner(file.path)
            gpu = sum(stop - start for start, stop in file.gpu)
            packed = positions.packed(file.start, following)
            gpu_packed = sum(positions.packed(start, stop) for start, stop in file.gpu)
            mostly_gpu = 2 * gpu > file.size
            if gpu:
                parts.append(_cell(package, GPU_CODE, gpu_packed, gpu, mostly_gpu))
            parts.append(_cell(package, file.kind, packed - gpu_packed, file.size - gpu, not mostly_gpu))
        return _sums((cell.package, cell.kind, cell) for cell in parts)

    def _tells_of_others(self, path: str) -> bool:
        folder = posixpath.basename(posixpath.dirname(path))
        return (
            path == MANIFEST_PATH
            or (folder.endswith(".dist-info") and path.endswith("/RECORD"))
            or (folder == "conda-meta" and path.endswith(".json"))
        )

    def _read_owners(self, path: str, content: bytes) -> None:
        if path == MANIFEST_PATH:
            self.excluded = parse_manifest(content, where=path).excluded
        elif path.endswith(".json"):
            conda = parse_json(content, where=path, cap=LISTING)
            files = conda.texts("files") if "files" in conda else ()
            self._own([path, *files], conda.text("name"))
        else:
            folder = posixpath.dirname(path)
            name = canonicalize_name(posixpath.basename(folder).removesuffix(".dist-info").rpartition("-")[0])
            site = posixpath.dirname(folder)
            rows = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
            try:
                self._own((posixpath.normpath(posixpath.join(site, row[0])) for row in rows if row), name)
            except csv.Error as error:
                raise ValueError(f"{path}: {error}") from error

    def _own(self, paths: Iterable[str], name: str) -> None:
        """Record that *paths* belong to the package *name*."""
        for path in paths:
            self._owners[path] = name
            if len(self._owners) > _MOST_OWNED:
                raise ValueError(f"its packages list more than {_MOST_OWNED:,} files")

    def _owner(self, path: str) -> str:
        owner = self._owners.get(path)
        folder, name = posixpath.split(path)
        if owner is None and posixpath.basename(folder) == "__pycache__":
            source = posixpath.join(posixpath.dirname(folder), name.partition(".")[0] + ".py")
            owner = self._owners.get(source)
        if owner is not None:
            return owner
        own = OTHERS_OWN if self._is_foreign and not self._is_ours else OWN
        return own if path.startswith(_OWN_PATHS) else INTERPRETER


def _kind(path: str) -> str:
    """Return the kind of a path; ELF files are recognized by their content."""
    kind = _SUFFIXES.get(posixpath.splitext(path)[1])
    if kind is None and "/include/" in f"/{path}":
        return HEADERS
    return kind or DATA


def _gpu_ranges(chunks: Iterable[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of GPU code in a file of *size* bytes, which come in *chunks*."""
    window, base, beyond = b"", 0, 0
    for chunk in chunks:
        window += chunk
        at = max(beyond - base, 0)
        while 0 <= (at := window.find(_FATBIN_MAGIC, at)) <= len(window) - _FATBIN.size:
            _, version, head_size, body = _FATBIN.unpack_from(window, at)
            # The same four bytes occur in code that searches for such containers.
            if version == 1 and head_size == _FATBIN.size and base + at + head_size + body <= size:
                beyond = base + at + head_size + body
                yield base + at, beyond
                at = beyond - base
            else:
                at += len(_FATBIN_MAGIC)
        kept = window[1 - _FATBIN.size :]
        base += len(window) - len(kept)
        window = kept


def _cell(package: str, kind: str, packed: int, unpacked: int, counts: bool) -> Cell:
    return Cell(package=package, kind=kind, packed=packed, unpacked=unpacked, files=int(counts))


def _sums(parts: Iterable[tuple[str, str, Cell]]) -> list[Cell]:
    sums: dict[tuple[str, str], tuple[int, int, int]] = {}
    for package, kind, cell in parts:
        packed, unpacked, files = sums.get((package, kind), (0, 0, 0))
        sums[package, kind] = (packed + cell.packed, unpacked + cell.unpacked, files + cell.files)
    cells = [
        Cell(package=package, kind=kind, packed=packed, unpacked=unpacked, files=files)
        for (package, kind), (packed, unpacked, files) in sums.items()
    ]
    return sorted(cells, key=lambda cell: (-cell.packed, cell.package, cell.kind))
