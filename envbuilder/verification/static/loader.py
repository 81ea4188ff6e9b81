"""Simulate the loader's search for libraries of ELF files, without loading any (ld.so(8)).

A library is found if it is already loaded under its soname, in a folder of DT_RPATH or DT_RUNPATH, in ``ENV/lib``
(which a launch puts first in LD_LIBRARY_PATH), or in the cache and the folders of the system. Libraries that are
already loaded are those of the same package and of packages that it requires, which are imported before it.
Libraries of other packages do not count.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.elf import ElfFacts
from envbuilder.archive.extract import Member
from envbuilder.catalog.system import DRIVER, LOADER, image_has
from envbuilder.catalog.triton import Release
from envbuilder.util.process import CommandError, run
from envbuilder.verification.static.packages import Installed, owners, with_requirements

_LDCONFIG: Final = ("/sbin/ldconfig", "/usr/sbin/ldconfig")
SYSTEM_FOLDERS: Final = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/")
"""The loader's default folders. (torch's own programs also name ``/lib/intel64`` and others.)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """The system on which a release's server runs: its image, or this machine."""

    release: Release
    besides: frozenset[str] = frozenset()
    """Additional sonames in the user's image, from the recipe."""

    @property
    def name(self) -> str:
        """Its name for messages."""
        return "this machine" if self.release.glibc is None else f"the image of {self.release.name}"

    def has(self, soname: str) -> bool | None:
        """Return whether it has *soname*; None: unknown (the driver, CUDA's libraries of an image)."""
        if soname in self.besides or LOADER.fullmatch(soname):
            return True
        known = image_has(soname, self.release)
        if known is None and self.release.glibc is None and not DRIVER.fullmatch(soname):
            return soname in host_libraries()
        return known


@functools.cache
def host_libraries() -> frozenset[str]:
    """Return the sonames in the cache of this machine's loader."""
    for program in _LDCONFIG:
        try:
            done = run([program, "-p"], env={"LC_ALL": "C"}, timeout=60)
        except CommandError:
            continue
        return frozenset(re.findall(r"^\s+(\S+) \(", done.stdout, re.MULTILINE))
    places = (Path(folder) for folder in SYSTEM_FOLDERS)
    return frozenset(path.name for place in places if place.is_dir() for path in place.glob("**/*.so*"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A library that a file needs and the loader does not find."""

    soname: str
    path: str
    """The path of the file that needs it."""
    package: str | None
    """The package of that file; None: it is part of the base."""


class Loader:
    """Finds libraries of one environment."""

    def __init__(
        self,
        files: Mapping[str, ElfFacts],
        members: Mapping[str, Member],
        packages: Mapping[str, Installed],
    ) -> None:
        self._files = files
        self._members = members
        self._packages = packages
        self._owners = owners(packages)
        self._names: dict[str, set[str | None]] = {}
        """The packages that have a library, by its soname and file name."""
        for path in members:
            if ".so" in posixpath.basename(path):
                self._names.setdefault(posixpath.basename(path), set()).add(self._owners.get(path))
        for path, facts in files.items():
            if facts.soname:
                self._names.setdefault(facts.soname, set()).add(self._owners.get(path))

    def missing(self, system: System) -> Iterator[Missing]:
        """Yield each required library that neither the environment nor *system* has.

        Libraries that *system* may have are not among them.
        """
        for path, facts in self._files.items():
            for need in facts.needs:
                if not self._in_environment(path, facts, need) and system.has(need) is False:
                    yield Missing(soname=need, path=path, package=self._owners.get(path))

    def _in_environment(self, path: str, facts: ElfFacts, need: str) -> bool:
        if f"lib/{need}" in self._members:  # by LD_LIBRARY_PATH
            return True
        folders = (inside(path, element) for element in facts.runpath)
        if any(folder is not None and posixpath.join(folder, need) in self._members for folder in folders):
            return True
        having = self._names.get(need, set())
        package = self._owners.get(path)
        if package is None:
            return None in having
        return bool(having) and not having.isdisjoint(self._before(package))

    def _before(self, package: str) -> set[str]:
        return with_requirements(package, self._packages)


def inside(path: str, element: str) -> str | None:
    """Return the folder of the environment that a RUNPATH element of *path* names, or None."""
    element = element.replace("${ORIGIN}", "$ORIGIN")
    if not element.startswith("$ORIGIN"):
        return None
    folder = posixpath.normpath(f"{posixpath.dirname(path)}/{element.removeprefix('$ORIGIN')}")
    return None if folder == ".." or folder.startswith("../") else folder
