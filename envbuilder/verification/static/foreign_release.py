"""Check a release's requirements on an environment that another tool packed, with hints for that tool.

A venv contains no interpreter: ``bin/python3`` links to the one that it was made with. *Measured* on the server of
pytriton-0.7.0: its stub finds ``libpython`` on the system, the sourced ``bin/activate`` puts the folder it names on
``PATH``, and the first ``python3`` there decides ``sys.prefix``. The image of a release has Ubuntu's own Python, as
``/usr/bin/python3``, of its stub's version.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from envbuilder.catalog.triton import Release, release_ranges
from envbuilder.errors import IntegrityError
from envbuilder.foreign.measured import activated_folder, fitting_ranges
from envbuilder.verification import foreign_hints as hints
from envbuilder.verification.report import Check, failed, passed
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.foreign import is_conda
from envbuilder.verification.static.linking import is_newer
from envbuilder.verification.static.loader import host_libraries

_MOST_LINKS: Final = 40


def fitted(checks: Iterable[Check], archive: Archive, release: Release) -> Iterator[Check]:
    """Yield *checks* of the requirements of *release*, with hints for the tool that packed *archive*."""
    for one in checks:
        if one.id == "layout.libpython":
            yield from _check_python(one, archive, release)
            continue
        cure = _CURES.get(one.id)
        if cure is None or one.status not in ("failed", "warning"):
            yield one
        else:
            yield replace(one, fix=cure(one, archive, release))


def base_python(archive: Archive) -> str | None:
    """Return the Python outside to which ``bin/python3`` links; None: it is dangling, or inside."""
    members, path = archive.contents.members, "bin/python3"
    for _ in range(_MOST_LINKS):
        member = members.get(path)
        if member is None or member.link is None:
            return None
        if member.link.startswith("/"):
            return member.link
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.link))
    return None


def _check_python(one: Check, archive: Archive, release: Release) -> Iterator[Check]:
    """Check the interpreter: the environment's own, or the one with which a venv was made."""
    activated = _check_activated(archive, release)
    if activated is not None:
        yield activated
    base = base_python(archive)
    if base is None:
        conda = is_conda(archive)
        right = any(archive.holds(f"lib/libpython{minor}.so.1.0") for minor in release.pythons)
        yield (
            one
            if one.status == "passed" or right  # not its version is wrong
            else replace(one, fix=hints.other_python(release.pythons, conda, _others(archive, release)))
        )
        return
    minor = ".".join(archive.measured.python.split(".")[:2])
    where = f"the image of {release.name}" if release.glibc else "this machine"
    has = minor in release.pythons and _has(base, minor, release)
    it = "it" if has else "no such Python"
    text = f"bin/python3 is a link to {base}, a Python {minor} outside the environment; {where} has {it}"
    if has:
        yield passed("layout.libpython", text, release)
    else:
        yield failed("layout.libpython", text, hints.other_python(release.pythons, conda=False), release)


def _has(base: str, minor: str, release: Release) -> bool:
    """Return whether the system of *release*'s server has the Python *base* and its library."""
    if release.glibc is not None:
        return base in ("/usr/bin/python3", f"/usr/bin/python{minor}")
    return Path(base).exists() and f"libpython{minor}.so.1.0" in host_libraries()


def _check_activated(archive: Archive, release: Release) -> Check | None:
    """Check the folder that ``bin/activate`` sets, for a release that sources it."""
    folder = activated_folder(archive.survey.texts)
    if folder is None or release.launch != "sourced":
        return None
    if archive.folder is not None and Path(folder) == archive.folder:
        return None
    text = (
        f"bin/activate sets the folder {folder}: {release.name} sources it, and uses the Python and the packages of "
        "that folder, if it exists, instead of the extracted ones"
    )
    fix = (
        "create the venv with `uv venv --relocatable`, which sets no folder; or pack a conda environment with "
        "conda-pack"
    )
    return failed("layout.activate", text, fix, release)


def _cure_needs(one: Check, archive: Archive, release: Release) -> str:
    sonames = list(dict.fromkeys(re.findall(r"(lib[\w.+-]+) \(for (\S+?)\)", one.found)))
    host = release.glibc is None
    cure = (hints.get_library(soname, archive.owner(path), host) for soname, path in sonames[:3])
    return "; ".join(dict.fromkeys(cure)) or "install these libraries into the environment, and pack it again"


def _cure_demands(_: Check, archive: Archive, release: Release) -> str:
    versions = archive.packages
    lacking = [text for text in release.demands if not _fulfils(text, versions)]
    of_conda = archive.found_packages.provides
    by_conda = all(
        is_conda(archive) and name in of_conda
        if (name := Requirement(text).name) in versions
        else is_conda(archive)
        for text in lacking
    )
    return hints.numpy(lacking, by_conda, _others(archive, release))


def _fulfils(demand: str, versions: dict[str, str]) -> bool:
    wanted = Requirement(demand)
    version = versions.get(wanted.name)
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def _cure_glibc(one: Check, archive: Archive, release: Release) -> str:
    file = _provider(archive, one.found.partition(" ")[0])
    return hints.fit_glibc(file, release.wheel_glibc, _others(archive, release))


def _cure_libstdcxx(_: Check, archive: Archive, release: Release) -> str:
    """Return how to fix a libstdc++ in ``lib/`` that is too old for the stub."""
    asked = archive.linking.highest_glibcxx()
    asks = asked[0] if asked is not None else "0"
    wanted = asks if is_newer(asks, release.stub_glibcxx) else release.stub_glibcxx
    package, of_conda = _provider(archive, archive.contents.tree.resolve("lib/libstdc++.so.6").path)
    return hints.newer_libstdcxx(
        wanted, package if of_conda else None, image=not is_newer(asks, release.glibcxx)
    )


def _cure_glibcxx(one: Check, archive: Archive, release: Release) -> str:
    asked = archive.linking.highest_glibcxx()
    assert asked is not None  # otherwise nothing would have failed
    return hints.fit_libstdcxx(
        asked[0],
        _provider(archive, one.found.partition(" ")[0]),
        release.wheel_glibc,
        conda=is_conda(archive),
        others=_others(archive, release),
    )


def _provider(archive: Archive, path: str) -> tuple[str | None, bool]:
    """Return the package that contains the file *path*, and whether it is conda's."""
    for record in archive.found_packages.conda:
        if path in record.files:
            return record.package.name, True
    return archive.owner(path), False


def _others(archive: Archive, release: Release) -> list[str]:
    """Return the releases with an image that accept *archive* as it is, if *release* does not."""
    try:
        fitting = fitting_ranges(archive.measured, archive.linking.libstdcxx)
    except IntegrityError:  # it contains no Python
        return []
    return [name for name, one in release_ranges() if name in fitting and one.glibc and one != release]


_CURES: Final[dict[str, Callable[[Check, Archive, Release], str]]] = {
    "archive.through-links": lambda *_: "write each file with its real path, as `conda-pack` does",
    "system.glibc": _cure_glibc,
    "system.libstdcxx": _cure_libstdcxx,
    "system.glibcxx": _cure_glibcxx,
    "linking.needs": _cure_needs,
    "system.demands": _cure_demands,
}
