"""The requirements of an ELF file on the system that loads it.

Parsed with ``struct`` according to the *System V ABI* and the *LSB*: pyelftools creates hundreds of objects per file,
which took a third of the time of packing an environment. The tests compare both on the same files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MAGIC: Final = b"\x7fELF"
_MAX_NEEDED: Final = 1000
"""Largest number of versioned libraries, and of versions of one; a broken file may claim four billion."""
_MAX_NAMES: Final = 10_000
"""Largest number of names read from one file: each may take 4 kB, and a broken file may have a million."""
_MAX_TABLE: Final = 16 * 2**20
"""Largest size of a table; a broken file may claim any."""
_MAX_OFFSET: Final = 2**40
"""Largest offset that a system can seek to."""
_MAX_NAME: Final = 4096
"""Largest length of a library name or search path."""

_SHT_DYNAMIC: Final = 6
_SHT_GNU_VERDEF: Final = 0x6FFFFFFD
_SHT_GNU_VERNEED: Final = 0x6FFFFFFE
_MACHINES: Final = {
    3: "i386",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86-64",
    183: "aarch64",
    243: "riscv",
}
_DT_NULL, _DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 14, 15, 29


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """The dynamic section and version needs of one ELF file."""

    needs: tuple[str, ...] = ()
    """``DT_NEEDED``, in order."""
    runpath: tuple[str, ...] = ()
    """``DT_RUNPATH``, or else ``DT_RPATH``, split at colons."""
    soname: str | None = None
    glibc: str | None = None
    """Highest required ``GLIBC_`` version."""
    glibcxx: str | None = None
    """Highest required ``GLIBCXX_`` version."""
    provides_glibcxx: bool = False
    """Whether the file itself is a libstdc++."""


def read_elf(file: BinaryIO) -> ElfFacts | None:
    """Read the facts of the ELF file in *file*; None if it is broken (as in a package's test data)."""
    try:
        elf = _Elf(file)
        tags = list(elf.dynamic_tags())
        asked = set(elf.versions_needed())
    except (struct.error, ValueError):
        return None
    found = dict(reversed(tags))  # the first of each
    soname = found.get(_DT_SONAME)
    return ElfFacts(
        needs=tuple(name for tag, name in tags if tag == _DT_NEEDED),
        runpath=tuple(
            part for part in (found.get(_DT_RUNPATH) or found.get(_DT_RPATH, "")).split(":") if part
        ),
        soname=soname,
        glibc=highest(name.removeprefix("GLIBC_") for name in asked if name.startswith("GLIBC_")),
        glibcxx=highest(name.removeprefix("GLIBCXX_") for name in asked if name.startswith("GLIBCXX_")),
        provides_glibcxx=bool(soname and soname.startswith("libstdc++.so")),
    )


def machine_of(file: Path) -> str | None:
    """Return the name of the processor for which the ELF file *file* is; None if it is no ELF file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        head = opened.read(20)
    if len(head) < 20 or not head.startswith(MAGIC):
        return None
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(number, f"machine {number}")


def highest_defined(file: BinaryIO, prefix: str) -> str | None:
    """Return the highest version with *prefix* (``GLIBCXX_``) that the ELF file in *file* defines, if any."""
    try:
        defined = set(_Elf(file).versions_defined())
    except (struct.error, ValueError):
        return None
    return highest(name.removeprefix(prefix) for name in defined if name.startswith(prefix))


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int
    info: int


class _Elf:
    """The sections of an ELF file of either class and byte order.

    Raises, here and in its methods:
        struct.error, ValueError: it is broken.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._names = 0
        ident = self._read(0, 16)
        if not ident.startswith(MAGIC) or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise ValueError("not an ELF file")
        self._order = "<>"[ident[5] - 1]
        self._wide = ident[4] == 2
        header = self._layout("HHIQQQIHHHHHH")
        fields = header.unpack(self._read(16, header.size))
        offset, entry, count = fields[5], fields[10], fields[11]
        self._sections = list(self._read_sections(offset, entry, count)) if offset else []

    def dynamic_tags(self) -> Iterator[tuple[int, str]]:
        """Yield the entries of the dynamic section whose value is a string."""
        entry = self._layout("QQ")
        for section in self._of_kind(_SHT_DYNAMIC):
            table = self._read(section.offset, section.size)
            for tag, value in entry.iter_unpack(table[: len(table) // entry.size * entry.size]):
                if tag == _DT_NULL:
                    break
                if tag in (_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH):
                    yield tag, self._string(section, value)

    def versions_needed(self) -> Iterator[str]:
        """Yield the names of the required versions."""
        library = struct.Struct(f"{self._order}HHIII")
        version = struct.Struct(f"{self._order}IHHII")
        for section in self._of_kind(_SHT_GNU_VERNEED):
            table = self._read(section.offset, section.size)
            place = 0
            for _ in range(_few(section.info)):
                _, count, _, first, following = library.unpack_from(table, place)
                at = place + first
                for _ in range(_few(count)):
                    _, _, _, name, next_version = version.unpack_from(table, at)
                    yield self._string(section, name)
                    at += next_version
                place += following

    def versions_defined(self) -> Iterator[str]:
        """Yield the names of the defined versions, each with its predecessors."""
        definition = struct.Struct(f"{self._order}HHHHIII")
        auxiliary = struct.Struct(f"{self._order}II")
        for section in self._of_kind(_SHT_GNU_VERDEF):
            table = self._read(section.offset, section.size)
            place = 0
            for _ in range(_few(section.info)):
                _, _, _, count, _, first, following = definition.unpack_from(table, place)
                at = place + first
                for _ in range(_few(count)):
                    name, next_name = auxiliary.unpack_from(table, at)
                    yield self._string(section, name)
                    at += next_name
                place += following

    def _read_sections(self, offset: int, entry: int, count: int) -> Iterator[_Section]:
        header = self._layout("IIQQQQIIQQ")
        if entry < header.size:
            raise ValueError("its section headers are too small")
        # With more than 65,279 sections, the count is the size of the first.
        count = count or header.unpack(self._read(offset, header.size))[5]
        table = self._read(offset, count * entry)
        for number in range(count):
            _, kind, _, _, begin, size, link, info, _, _ = header.unpack_from(table, number * entry)
            yield _Section(kind, begin, size, link, info)

    def _of_kind(self, kind: int) -> list[_Section]:
        return [section for section in self._sections if section.kind == kind]

    def _string(self, user: _Section, offset: int) -> str:
        self._names += 1
        if self._names > _MAX_NAMES:
            raise ValueError(f"it names more than {_MAX_NAMES} libraries and versions")
        if user.link >= len(self._sections):
            raise ValueError("its names are in no section")
        name, end, _ = self._read_up_to(self._sections[user.link].offset + offset, _MAX_NAME).partition(b"\0")
        if not end:
            raise ValueError("a name has no end")
        return name.decode("utf-8", "replace")

    def _layout(self, fields: str) -> struct.Struct:
        return struct.Struct(self._order + (fields if self._wide else fields.replace("Q", "I")))

    def _read(self, offset: int, size: int) -> bytes:
        data = self._read_up_to(offset, size)
        if len(data) != size:
            raise ValueError("it is cut off")
        return data

    def _read_up_to(self, offset: int, size: int) -> bytes:
        if offset > _MAX_OFFSET or size > _MAX_TABLE:
            raise ValueError(f"it claims {size} bytes at {offset}")
        self._file.seek(offset)
        return self._file.read(size)


def _few(count: int) -> int:
    if count > _MAX_NEEDED:
        raise ValueError(f"it claims to need {count} libraries, or versions of one")
    return count


def version_key(version: str) -> tuple[int, ...]:
    """Return the sort key of a version such as ``2.34`` or ``3.4.30``."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def highest(versions: Iterable[str]) -> str | None:
    """Return the highest of some dotted versions; names without a number, such as ``PRIVATE``, are ignored."""
    return max((v for v in versions if v[:1].isdigit()), key=version_key, default=None)
