"""Turn the results of importing every package into checks, each failure with its cause."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from envbuilder.archive.exclude import rule_of
from envbuilder.catalog.system import DRIVER
from envbuilder.catalog.triton import Release
from envbuilder.util.text import counted
from envbuilder.verification import hints
from envbuilder.verification.live.left_out import pattern_that_left_out
from envbuilder.verification.live.packages import (
    Imported,
    ModuleOutcome,
    PackageOutcome,
    dependents,
    modules_of,
    required_by_none,
)
from envbuilder.verification.report import Check, Status, check
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.loader import SYSTEM_FOLDERS, System

Kind = Literal["left-out", "library", "numpy", "gpu", "image", "timeout", "module", "other"]
_SONAME: Final = re.compile(r"(?P<soname>lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
_CTYPES: Final = re.compile(r"(?P<soname>lib[\w.+-]+\.so[\w.]*): cannot open")
_WINDOWS_NAME: Final = re.compile(r"cannot load library '(?P<stem>lib[\w.+-]+)-(?P<number>\d+)'")
"""cffi's error, of a package that tries the names of all systems and Windows' last (WeasyPrint)."""
_OWN_WORDS: Final = {
    "PortAudio library not found": "libportaudio.so.2",
    "Unable to find zbar shared library": "libzbar.so.0",
    "failed to find libmagic": "libmagic.so.1",
}
"""What packages say that look for a library by themselves (sounddevice, pyzbar, python-magic)."""
_NO_GPU: Final = re.compile(
    r"no NVIDIA driver|CUDA driver|no CUDA-capable device|NVML|libnvidia-ml|no CUDA GPUs|requires a GPU|no GPU",
    re.IGNORECASE,
)
_OLD_DRIVER: Final = re.compile(
    r"driver version is insufficient|driver (on your system )?is too old", re.IGNORECASE
)
_NUMPY: Final = re.compile(
    r"compiled (against|using) NumPy|NumPy C-API version|numpy\.dtype size changed|_ARRAY_API not found"
    r"|numpy\.core\.multiarray failed to import|ABI version 0x|requires NumPy (?P<needs>\d)",
    re.IGNORECASE,
)

UvTried = Callable[[str, str], "bool | None"]
"""Returns whether a module of a package can be imported in uv's own installation of the lock; None: unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A module that could not be imported, and why."""

    package: str
    module: str
    kind: Kind
    text: str
    soname: str | None = None
    """The soname of a missing library."""
    pattern: str | None = None
    """The pattern that excluded a file."""
    missing: str | None = None
    """The name of a missing module."""


def failures(imported: Imported, archive: Archive, system: System) -> Iterator[Failure]:
    """Yield the first failure of each package that could not be imported completely."""
    for package, found in sorted((imported.found or {}).items()):
        failure = _failure(package, found, imported.modules.get(package, ()), archive, system)
        if failure is not None:
            yield failure


def _failure(
    package: str, found: PackageOutcome, modules: Sequence[str], archive: Archive, system: System
) -> Failure | None:
    for module in modules:
        said = found.modules.get(module)
        if said is not None and said.done:
            continue
        if found.timeout:
            text = f"{module} was not imported in time"
            return Failure(package=package, module=module, kind="timeout", text=text)
        if said is not None and said.error:
            return _caused(package, module, said, archive)
        return Failure(package=package, module=module, kind="other", text=_died(module, found))
    for path in found.libraries:
        soname = _not_in_image(path, system)
        if soname is not None:
            text = f"{path} of this machine was loaded, and {system.name} has no {soname}"
            return Failure(package=package, module=modules[0], kind="image", text=text, soname=soname)
    return None


def _caused(package: str, module: str, said: ModuleOutcome, archive: Archive) -> Failure:
    line = f"{said.error}: {said.text}".strip()
    everything = "\n".join([line, *said.causes])
    first = line.splitlines()[0]

    def failure(kind: Kind, **more: str | None) -> Failure:
        return Failure(package=package, module=module, kind=kind, text=first, **more)

    soname = _missing_library(everything)
    if soname is not None:
        return failure("gpu" if DRIVER.fullmatch(soname) else "library", soname=soname)
    pattern = pattern_that_left_out(archive, missing=said.missing, text=said.text, file=said.file)
    if pattern is not None:
        return failure("left-out", pattern=pattern)
    if _NUMPY.search(everything):
        return failure("numpy")
    if said.error == "ModuleNotFoundError" and said.missing:
        return failure("module", missing=said.missing)
    return failure("gpu" if _NO_GPU.search(everything) else "other")


def _missing_library(text: str) -> str | None:
    """Return the soname of the library that an error's text names."""
    library = _SONAME.search(text) or _CTYPES.search(text)
    if library is not None:
        return library["soname"]
    other = _WINDOWS_NAME.search(text)
    if other is not None:
        return f"{other['stem']}.so.{other['number']}"
    return next((soname for words, soname in _OWN_WORDS.items() if words in text), None)


def _died(module: str, found: PackageOutcome) -> str:
    last = found.output.strip().splitlines()[-1:]
    how = f"was killed by signal {found.signal}" if found.signal else f"ended the process ({found.exited})"
    return f"importing {module} {how}{': ' if last else ''}{''.join(last)}"


def _not_in_image(path: str, system: System) -> str | None:
    """Return the soname of a library of this machine that *system* is known not to have."""
    if not f"{posixpath.dirname(path)}/".startswith(SYSTEM_FOLDERS) or system.release.glibc is None:
        return None
    names = soname_candidates(posixpath.basename(path))
    known = [system.has(name) for name in names]
    return None if any(one is not False for one in known) else names[-1]


def lent_libraries(imported: Imported, system: System) -> dict[str, list[str]]:
    """Return the libraries of this machine that packages loaded and *system* is known not to have."""
    lent = {
        name: [path for path in found.libraries if _not_in_image(path, system) is not None]
        for name, found in (imported.found or {}).items()
    }
    return {name: paths for name, paths in lent.items() if paths}


def soname_candidates(name: str) -> list[str]:
    """Return possible sonames of the library file *name*: ``libx.so.1.2``, ``libx.so.1``."""
    stem, so, version = name.partition(".so")
    parts = version.split(".")[1:] if version else []
    return [
        f"{stem}{so}{''.join(f'.{part}' for part in parts[:count])}" for count in range(len(parts), 0, -1)
    ] or [name]


# -- checks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageEvaluator:
    """Turns the results of importing packages into checks, for one release."""

    archive: Archive
    release: Release
    system: System
    uv: UvTried
    wanted: Collection[str] | None = None
    """The packages that the recipe names; None: the recipe is not available."""
    used: Collection[str] = ()
    """The modules that the verified models imported."""

    def checks(self, imported: Imported) -> Iterator[Check]:
        """Yield a check for each package that could not be imported, or one for all packages."""
        if imported.found is None:
            text = f"packages could not be imported: {imported.ended or 'no answer'}"
            yield self._check(text, "warning", None)
            return
        failed = list(failures(imported, self.archive, self.system))
        named = required_by_none(self.archive.installed) if self.wanted is None else self.wanted
        broken = {one.package for one in failed}
        for one in failed:
            needed = one.package in named or bool(dependents(one.package, self.archive.installed, broken))
            yield self._judged(one, needed, one.package in named)
        if not failed:
            modules = sum(len(found.modules) for found in imported.found.values())
            text = f"{counted(len(imported.found), 'package')} imported, {counted(modules, 'module')}"
            yield replace(self._check(text, "passed", None), seconds=imported.seconds)

    def _judged(self, one: Failure, needed: bool, named: bool) -> Check:
        """Evaluate a failure.

        A package that is not *needed*, because no required package imports it, cannot fail the check. For a package
        that the recipe has *named* a failure counts even if uv's own installation has it, too: models import it.
        """
        found = f"{one.package}: {one.text}"
        status: Status = "failed" if needed else "warning"
        if one.kind == "left-out":
            pattern = one.pattern or ""
            return self._check(
                f"{found}; `build` left it out ({rule_of(pattern)})", "failed", hints.keep_file(pattern)
            )
        if one.module in self.used and one.kind != "image":  # the model, too, had this machine's library
            # keras and others ask what the process sets before it imports them (KERAS_BACKEND).
            fix = "let other models that import it do the same before"
            return self._check(f"{found}; the verified model imports it nevertheless", "warning", fix)
        if not needed:
            found += "; no package that the recipe requires imports it"
        if one.kind in ("library", "image"):
            return self._library(one, found, status)
        if one.kind == "numpy":
            numpy = self.archive.packages.get("numpy", "")
            return self._check(
                f"{found}; the environment has NumPy {numpy}",
                status,
                hints.fit_numpy(one.package, numpy, self.release),
            )
        if one.kind == "gpu" and _OLD_DRIVER.search(one.text):
            text = f"{found}; the NVIDIA driver of this machine is too old for it: not known"
            return self._check(
                text, "warning", "update the driver here, and look at the one where it is served"
            )
        if one.kind == "gpu":
            fix = "verify it on a machine with an NVIDIA GPU"
            return self._check(f"{found}; this machine has no GPU: not known", "warning", fix)
        if one.kind == "timeout":
            return self._check(f"{found}: not known", "warning", "verify it on a less busy machine")
        return self._unknown(one, found, "failed" if named and self._is_main(one) else "warning", status)

    def _library(self, one: Failure, found: str, status: Status) -> Check:
        soname, name = one.soname or "", self.system.name
        if soname in self.system.besides:
            return self._check(
                f"{found}; the recipe lists it as a library of the system: not known here", "omitted", None
            )
        host = self.release.glibc is None
        if not host and self.system.has(soname) is not False:
            may = "has it" if self.system.has(soname) else "may have it"
            fix = f"install it with `apt-get` on this machine, or verify in {name}"
            return self._check(f"{found}; {name} {may}: not known here", "warning", fix)
        return self._check(found, status, hints.get_library(soname, one.package, host))

    def _is_main(self, one: Failure) -> bool:
        """Return whether the module is the package's main one, by its name or as the only one."""
        package = self.archive.installed[one.package]
        modules = modules_of(package, self.archive.contents.members)
        return len(modules) == 1 or one.module.lower() == one.package.replace("-", "_")

    def _unknown(self, one: Failure, found: str, in_uv: Status, status: Status) -> Check:
        works = self.uv(one.package, one.module)
        if one.missing:
            fix = f"add the project that has the module {one.missing} to the recipe's dependencies"
        elif "torchvision::" in one.text:  # an operator of its extension, which could not be loaded
            fix = hints.MATCH_TORCHVISION
        else:
            fix = f"use another version of {one.package}, or add what the text names"
        if works is False:
            return self._check(f"{found}; it also fails in uv's own installation of the lock", in_uv, fix)
        if works:
            fix = "keep everything with `pack: {exclude: []}` in the recipe; if that does not help, please report it"
            return self._check(
                f"{found}; in uv's own installation of the lock, the import works", "failed", fix
            )
        return self._check(found, status, fix)

    def _check(self, found: str, status: Status, fix: str | None) -> Check:
        return check("probe.packages", status, found, fix, self.release)
