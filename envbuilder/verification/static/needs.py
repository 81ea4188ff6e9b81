"""Check the libraries that ELF files need, with the results of the imports."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from envbuilder.catalog.triton import Release
from envbuilder.util.text import counted
from envbuilder.verification.hints import base_file_hint, get_library
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.linking import host_runpaths
from envbuilder.verification.static.loader import Loader, Missing, System

_OPTIONAL: Final = re.compile(r"lib/python3\.\d+/(site-packages|lib-dynload)/.*")
"""Files that are loaded only when imported. All others are part of the interpreter itself."""


def system_of(archive: Archive, release: Release) -> System:
    """Return the system on which a server of *release* with *archive* runs."""
    besides = archive.manifest.system_libraries if archive.manifest is not None else ()
    return System(release=release, besides=frozenset(besides))


def check_runpaths(archive: Archive) -> Iterator[Check]:
    """Check that RUNPATHs of the base stay inside; those that packages are published with are only noted."""
    out = list(host_runpaths(archive.linking))
    own = [(path, element) for path, element in out if not _is_optional(path, archive)]
    dead = [f"{path} ({element})" for path, element in out if _is_optional(path, archive)]
    if own:
        names = [f"{path} ({element})" for path, element in own]
        yield failed(
            "linking.runpath",
            f"RUNPATHs that point outside the environment: {some(names)}",
            base_file_hint(archive.is_as_built(own[0][0]), archive.same_tool),
        )
        return
    text = f"the RUNPATHs of {counted(len(archive.linking.files), 'ELF file')} stay inside the environment"
    if dead:
        text += f", except those that packages are published with, which point nowhere: {some(dead, 3)}"
    yield passed("linking.runpath", text)


def check_needs(archive: Archive, release: Release) -> Check:
    """Check that each required library is in the environment, or on the system of *release*'s server.

    Whether an import needs a missing one is known once packages are imported, see :func:`settle_needs`.
    """
    system = system_of(archive, release)
    missing = list(_missing(archive, system))
    own = [one for one in missing if not _is_optional(one.path, archive)]
    if own:
        return failed(
            "linking.needs",
            f"libraries that are missing from the environment and from {system.name}: {_names(own)}",
            base_file_hint(archive.is_as_built(own[0].path), archive.same_tool),
            release,
        )
    if missing:
        return check(
            "linking.needs",
            "warning",
            f"libraries that are missing from the environment and from {system.name}: {_names(missing)}; whether an "
            "import needs them is not known",
            _cure(missing, release),
            release,
        )
    return passed(
        "linking.needs", f"every required library is in the environment or on {system.name}", release
    )


def settle_needs(
    checks: Sequence[Check], archive: Archive, release: Release, met: Collection[tuple[str, str]]
) -> list[Check]:
    """Return *checks* updated now that every package was imported.

    *met* are the packages whose import failed, each with the missing library.
    """
    system = system_of(archive, release)
    settled = []
    for one in checks:
        if one.id == "linking.needs" and one.release == release.name and one.status == "warning":
            missing = list(_missing(archive, system))
            sonames = {soname for _, soname in met}
            if not any(need.soname in sonames for need in missing):
                where = f"missing from the environment and from {system.name}"
                text = f"no import needs the libraries that are {where}: {_names(missing)}"
                one = passed("linking.needs", text, release)
        settled.append(one)
    return settled


def _missing(archive: Archive, system: System) -> Iterator[Missing]:
    return Loader(archive.linking.files, archive.contents.members, archive.installed).missing(system)


def _is_optional(path: str, archive: Archive) -> bool:
    if _OPTIONAL.fullmatch(path):
        return True
    conda = archive.manifest is None or bool(archive.manifest.conda)
    return conda and not path.startswith(("lib/libpython", "bin/python"))


def _names(missing: Sequence[Missing]) -> str:
    return some([f"{one.soname} (for {one.path})" for one in missing])


def _cure(missing: Sequence[Missing], release: Release) -> str:
    cures = [get_library(one.soname, one.package, release.glibc is None) for one in missing]
    return "; ".join(list(dict.fromkeys(cures))[:3])
