"""Read the requirements of an extracted environment's ELF files on the system."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.elf import ElfFacts, highest, highest_defined, read_elf, version_key
from envbuilder.archive.extract import Member
from envbuilder.verification.static.loader import SYSTEM_FOLDERS, inside

_LIBSTDCXX: Final = "lib/libstdc++.so.6"


@dataclass(frozen=True, kw_only=True, slots=True)
class Linking:
    """Facts of every ELF file of an environment."""

    files: Mapping[str, ElfFacts]
    libstdcxx: str | None
    """Highest ``GLIBCXX_`` version of a libstdc++ in ``lib/``, which the stub would load; None: there is none."""

    def highest_glibc(self) -> tuple[str, str] | None:
        """Return the highest required ``GLIBC_`` version, and a file that requires it."""
        return _highest({path: facts.glibc for path, facts in self.files.items()})

    def highest_glibcxx(self) -> tuple[str, str] | None:
        """Return the highest required ``GLIBCXX_`` version, and a file that requires it."""
        asked = {
            path: None if facts.provides_glibcxx else facts.glibcxx for path, facts in self.files.items()
        }
        return _highest(asked)


def read_linking(environment: Path, members: Mapping[str, Member]) -> Linking:
    """Read the ELF files among *members*, extracted in *environment*."""
    files = {}
    for path, member in members.items():
        if member.elf:
            with (environment / path).open("rb") as file:
                facts = read_elf(file)
            if facts is not None:
                files[path] = facts
    real = _follow(_LIBSTDCXX, members)
    provided = _provided(environment / real) if real in files else None
    return Linking(files=files, libstdcxx=provided)


def host_runpaths(linking: Linking) -> Iterator[tuple[str, str]]:
    """Yield each RUNPATH element that points outside the environment and the system's folders, with its file."""
    for path, facts in linking.files.items():
        for element in facts.runpath:
            if inside(path, element) is None and not f"{element}/".startswith(SYSTEM_FOLDERS):
                yield path, element


def is_newer(version: str, than: str) -> bool:
    """Compare dotted versions."""
    return version_key(version) > version_key(than)


def _follow(path: str, members: Mapping[str, Member]) -> str:
    for _ in range(10):
        member = members.get(path)
        if member is None or member.link is None:
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.link))
    return path


def _highest(asked: Mapping[str, str | None]) -> tuple[str, str] | None:
    version = highest(version for version in asked.values() if version is not None)
    if version is None:
        return None
    return version, min(path for path, asks in asked.items() if asks == version)


def _provided(library: Path) -> str | None:
    """Return the highest ``GLIBCXX_`` version that *library* defines."""
    with library.open("rb") as file:
        return highest_defined(file, "GLIBCXX_")
