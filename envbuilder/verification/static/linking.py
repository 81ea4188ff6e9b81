"""What the ELF files of an extracted environment ask of the system, and whether a server can give it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.elf import ElfFacts, highest, highest_defined, read_elf, version_key
from envbuilder.archive.extract import Member

BASE_SYSTEM: Final = re.compile(
    r"(ld-linux[-\w]*|linux-vdso|lib(c|m|pthread|dl|rt|util|resolv|anl|mvec|nsl|nss_\w+|stdc\+\+|gcc_s))\.so(\.\d+)*"
)
"""glibc and the compiler's runtime: every image has them."""
DRIVER: Final = re.compile(r"lib(cuda|nvidia-[-\w]+|nvcuvid|nvoptix|cudadebugger)\.so(\.\d+)*")
"""NVIDIA's driver: comes with the machine, and only with one that has a GPU."""
_PLUGIN_NEEDS: Final = re.compile(
    r"lib(ibverbs|rdmacm|mlx5|efa|fabric|pmix|mpi|ucs|ucp|oshmem|nl-3|nl-route-3)\.so(\.\d+)*"
)
_SYSTEM_FOLDERS: Final = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
"""Where the loader looks anyway. (torch's own programs name ``/lib/intel64`` and the like.)"""
_PLUGINS: Final = re.compile(r".*/(nvidia|nvshmem|torch)/.*")
"""Network plugins of NVIDIA's libraries, opened only where that network is."""
_LIBSTDCXX: Final = "lib/libstdc++.so.6"


@dataclass(frozen=True, kw_only=True, slots=True)
class Linking:
    """Facts of every ELF file of an environment."""

    files: Mapping[str, ElfFacts]
    libstdcxx: str | None
    """Highest ``GLIBCXX_`` version of a libstdc++ in ``lib/``, which the stub would load; None: there is none."""

    def highest_glibc(self) -> tuple[str, str] | None:
        """Return the highest ``GLIBC_`` version asked, and a file that asks it."""
        return _highest({path: facts.glibc for path, facts in self.files.items()})

    def highest_glibcxx(self) -> tuple[str, str] | None:
        """Return the highest ``GLIBCXX_`` version asked, and a file that asks it."""
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


def host_runpaths(linking: Linking) -> Iterator[str]:
    """Yield each RUNPATH element that leads out of the environment, with its file."""
    for path, facts in linking.files.items():
        if not any(_is_plugin_need(path, need) for need in facts.needs):
            for element in facts.runpath:
                if _inside(path, element) is None and not element.startswith(_SYSTEM_FOLDERS):
                    yield f"{path} ({element})"


def unresolved(linking: Linking, members: Mapping[str, Member]) -> Iterator[str]:
    """Yield each needed library that neither the environment nor the base system has, with its file.

    A library counts as had when its file or its soname is anywhere in the environment: packages load what they
    need before what needs it (torch and NVIDIA's libraries).
    """
    names = {posixpath.basename(path) for path in members if ".so" in path}
    names |= {facts.soname for facts in linking.files.values() if facts.soname}
    for path, facts in linking.files.items():
        for need in facts.needs:
            if need in names or BASE_SYSTEM.fullmatch(need) or DRIVER.fullmatch(need):
                continue
            if not _is_plugin_need(path, need):
                yield f"{need} (for {path})"


def _is_plugin_need(path: str, need: str) -> bool:
    return bool(_PLUGIN_NEEDS.fullmatch(need) and _PLUGINS.fullmatch(path))


def is_newer(version: str, than: str) -> bool:
    """Compare dotted versions."""
    return version_key(version) > version_key(than)


def _inside(path: str, element: str) -> str | None:
    """Return the folder of the environment that a RUNPATH element of *path* names, or None."""
    element = element.replace("${ORIGIN}", "$ORIGIN")
    if not element.startswith("$ORIGIN"):
        return None
    folder = posixpath.normpath(f"{posixpath.dirname(path)}/{element.removeprefix('$ORIGIN')}")
    return None if folder == ".." or folder.startswith("../") else folder


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
