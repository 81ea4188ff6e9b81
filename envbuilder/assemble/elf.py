"""What an ELF file asks of the system it is loaded on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, Final

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

MAGIC: Final = b"\x7fELF"
_MAX_NEEDED: Final = 1000
"""Libraries with versions, and versions of one: a broken file may claim four thousand million, each read one by one."""


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """The dynamic section and version needs of one ELF file."""

    needs: tuple[str, ...] = ()
    """``DT_NEEDED``, in order."""
    runpath: tuple[str, ...] = ()
    """``DT_RUNPATH``, or ``DT_RPATH`` where there is none, cut at the colons."""
    soname: str | None = None
    glibc: str | None = None
    """Highest ``GLIBC_`` version asked."""
    glibcxx: str | None = None
    """Highest ``GLIBCXX_`` version asked."""
    provides_glibcxx: bool = False
    """Whether it is a libstdc++ itself."""


def read_elf(file: BinaryIO) -> ElfFacts | None:
    """Read the facts of the ELF file in *file*, or None where it only looks like one (an object without a
    dynamic section, another machine's, a broken file that a package ships as test data)."""
    try:
        elf = ELFFile(file)
        needs: list[str] = []
        runpath = rpath = ""
        soname = None
        asked: set[str] = set()
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        needs.append(tag.needed)  # type: ignore[attr-defined]  # pyelftools sets it by the kind of tag
                    elif tag.entry.d_tag == "DT_RUNPATH":
                        runpath = tag.runpath  # type: ignore[attr-defined]
                    elif tag.entry.d_tag == "DT_RPATH":
                        rpath = tag.rpath  # type: ignore[attr-defined]
                    elif tag.entry.d_tag == "DT_SONAME":
                        soname = tag.soname  # type: ignore[attr-defined]
            elif isinstance(section, GNUVerNeedSection):
                if section["sh_info"] > _MAX_NEEDED:
                    return None
                for need, versions in section.iter_versions():
                    if need["vn_cnt"] > _MAX_NEEDED:
                        return None
                    asked.update(version.name for version in versions)
    except (
        ELFError,
        UnicodeDecodeError,
        ValueError,
        KeyError,
        AttributeError,
        OverflowError,
        AssertionError,
    ):
        return None  # pyelftools meets a broken file with any of these
    return ElfFacts(
        needs=tuple(needs),
        runpath=tuple(part for part in (runpath or rpath).split(":") if part),
        soname=soname,
        glibc=highest(name.removeprefix("GLIBC_") for name in asked if name.startswith("GLIBC_")),
        glibcxx=highest(name.removeprefix("GLIBCXX_") for name in asked if name.startswith("GLIBCXX_")),
        provides_glibcxx=bool(soname and soname.startswith("libstdc++.so")),
    )


def version_key(version: str) -> tuple[int, ...]:
    """Return what versions such as ``2.34`` or ``3.4.30`` are ordered by."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def highest(versions: Iterable[str]) -> str | None:
    """Return the highest of some dotted versions (names without a number, ``PRIVATE``, do not count)."""
    return max((v for v in versions if v[:1].isdigit()), key=version_key, default=None)
