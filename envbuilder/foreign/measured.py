"""Derive a manifest for an environment that has none, from the environment itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.archive.elf import highest, version_key
from envbuilder.archive.manifest import Manifest, ManifestFile, ManifestInterpreter
from envbuilder.catalog.triton import Release, release_ranges
from envbuilder.errors import IntegrityError
from envbuilder.foreign.packages import Packages, find_packages
from envbuilder.foreign.survey import Survey, survey
from envbuilder.progress import SILENT, Reporter

_LIBPYTHON: Final = re.compile(r"lib/libpython(3\.\d+)\.so\.1\.0")
_LIBRARY: Final = re.compile(r"lib/python(3\.\d+)/.+")
_PATCHLEVEL: Final = re.compile(rb'#define\s+PY_VERSION\s+"(\d+\.\d+\.\d+)')
_VENV: Final = re.compile(rb"^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)", re.MULTILINE)
_HOME: Final = re.compile(rb"^home\s*=\s*(.+?)\s*$", re.MULTILINE)
_ACTIVATED: Final = re.compile(rb"^\s*(?:export\s+)?VIRTUAL_ENV=['\"]?(/[^'\"\n$`]*)", re.MULTILINE)
_TORCH: Final = re.compile(r"^__version__\b[^=]*= *['\"]([^'\"]+)", re.MULTILINE)
_CUDA: Final = re.compile(r"^cuda\b[^=]*= *['\"]([^'\"]+)", re.MULTILINE)


class MeasuredManifest(Manifest):
    """A manifest that no build wrote. It has no digests of recipe and lock, and no sha256 of wheels.

    Its release is the newest that would load the environment, judging by its files; if there is none, the newest
    with its Python, or the newest of all.
    """

    __slots__ = ()


def read_measured(path: Path, *, reporter: Reporter = SILENT) -> MeasuredManifest:
    """Measure the archive or folder *path*, as far as its packages can be understood.

    Raises:
        IntegrityError: it cannot be read to its end, or holds no Python environment.
    """
    return measure(survey(path, reporter=reporter), where=str(path))


def measure_all(found: Survey, *, where: str) -> MeasuredManifest:
    """Return the manifest for the survey *found*, for those who need to know of each package in it.

    Raises:
        IntegrityError: it is no Python environment, or what conda or pip wrote down in it cannot be understood.
    """
    unread = find_packages(found.texts).unread
    if unread:
        raise IntegrityError(f"{where}: {unread[0]}", hint="reinstall that package and pack again")
    return measure(found, where=where)


def measure(found: Survey, *, where: str) -> MeasuredManifest:
    """Return the manifest for the survey *found*; *where* names it in errors.

    Packages whose records cannot be understood are not in it: what serves it does not read them.

    Raises:
        IntegrityError: it is no Python environment.
    """
    packages = find_packages(found.texts)
    python = python_version(found, packages)
    if python is None:
        raise IntegrityError(
            f"{where} contains no Python environment: it has no lib/python3.X",
            hint="expected an archive of conda-pack, a conda prefix, or a venv",
        )
    glibc = highest(facts.glibc for facts in found.elf.values() if facts.glibc)
    asked = (f.glibcxx for f in found.elf.values() if f.glibcxx and not f.provides_glibcxx)
    glibcxx = highest(asked)
    torch, cuda = torch_build(found.texts)
    versions = packages.versions
    release = _release(python, versions.get("numpy"), glibc, glibcxx, found.libstdcxx)
    files = [
        ManifestFile(path=path, mode=one.mode & 0o7777, size=one.size, sha256=one.sha256, link=one.link)
        for path, one in sorted(found.members.items())
    ]
    return MeasuredManifest(
        recipe=found.name,
        recipe_digest="",
        lock_digest="",
        release=release.name,
        python=python,
        torch=torch or versions.get("torch", ""),
        cuda=f"cu{cuda.replace('.', '')}" if cuda else "cpu",
        interpreter=ManifestInterpreter(
            version=python, origin=_origin(found, packages), digest="", locked_digest=""
        ),
        demands=(),
        packages=tuple(one.package for one in packages.pip),
        conda=tuple(one.package for one in packages.conda),
        provides=dict(packages.provides),
        glibc=glibc,
        glibcxx=glibcxx,
        pack={},
        tools={},
        unpacked_size=sum(one.size for one in found.members.values()),
        files=tuple(files),
    )


def python_version(found: Survey, packages: Packages) -> str | None:
    """Return the version of an environment's Python, with its patch level if known."""
    of_conda = next((one.package.version for one in packages.conda if one.package.name == "python"), None)
    if of_conda is not None:
        return of_conda
    for path, text in sorted(found.texts.items()):
        of_header = _PATCHLEVEL.search(text) if path.endswith("/patchlevel.h") else None
        match = _VENV.search(text) if path == "pyvenv.cfg" else of_header
        if match is not None:
            return match[1].decode()
    for place in (_LIBPYTHON, _LIBRARY):
        minors = {here[1] for path in found.members if (here := place.fullmatch(path)) is not None}
        if minors:
            return max(minors, key=version_key)
    return None


def torch_build(texts: Mapping[str, bytes]) -> tuple[str | None, str | None]:
    """Return the version and the CUDA version that ``torch/version.py`` states."""
    path = next((one for one in texts if one.endswith("/site-packages/torch/version.py")), None)
    if path is None:
        return None, None
    text = texts[path].decode(errors="replace")
    version, cuda = _TORCH.search(text), _CUDA.search(text)
    return version and version[1], cuda and cuda[1]


def activated_folder(texts: Mapping[str, bytes]) -> str | None:
    """Return the fixed folder that ``bin/activate`` puts on ``PATH``; None: its own."""
    match = _ACTIVATED.search(texts.get("bin/activate", b""))
    return match[1].decode(errors="replace") if match is not None else None


def venv_home(texts: Mapping[str, bytes]) -> str | None:
    """Return the folder of the Python with which a venv was made; None: it is not a venv."""
    match = _HOME.search(texts.get("pyvenv.cfg", b""))
    return match[1].decode(errors="replace") if match is not None else None


def _origin(found: Survey, packages: Packages) -> str:
    if any(one.package.name == "python" for one in packages.conda):
        return "conda"
    home = venv_home(found.texts)
    return f"a venv of {home}" if home is not None else "unknown"


def _release(
    python: str, numpy: str | None, glibc: str | None, glibcxx: str | None, bundled: str | None
) -> Release:
    """Return the newest release that loads such an environment; see :class:`MeasuredManifest`."""
    minor = ".".join(python.split(".")[:2])
    releases = [release for _, release in release_ranges()]
    with_python = [release for release in releases if minor in release.pythons]
    fitting = [
        one for one in with_python if _fits(one, numpy=numpy, glibc=glibc, glibcxx=glibcxx, bundled=bundled)
    ]
    return (fitting or with_python or releases)[-1]


def fitting_ranges(manifest: MeasuredManifest, bundled: str | None) -> tuple[str, ...]:
    """Return the releases that would load an environment, judging by its files.

    *bundled* is its libstdc++'s version.
    """
    minor = ".".join(manifest.python.split(".")[:2])
    versions: dict[str, str] = {canonicalize_name(one.name): one.version for one in manifest.packages}
    numpy = versions.get("numpy") or manifest.provides.get("numpy")
    return tuple(
        name
        for name, release in release_ranges()
        if minor in release.pythons
        and _fits(release, numpy=numpy, glibc=manifest.glibc, glibcxx=manifest.glibcxx, bundled=bundled)
    )


def _fits(
    release: Release, *, numpy: str | None, glibc: str | None, glibcxx: str | None, bundled: str | None
) -> bool:
    return (
        # On a host, its own system is checked when it serves.
        (release.glibc is None or _at_most(glibc, release.glibc))
        and _at_most(release.stub_glibcxx, bundled)
        and _at_most(glibcxx, bundled or release.glibcxx)
        and _has_numpy(release, numpy)
    )


def _at_most(version: str | None, most: str | None) -> bool:
    return version is None or most is None or version_key(version) <= version_key(most)


def _has_numpy(release: Release, numpy: str | None) -> bool:
    demands = [Requirement(text) for text in release.demands if canonicalize_name(text[:5]) == "numpy"]
    return numpy is not None and all(one.specifier.contains(numpy, prereleases=True) for one in demands)
