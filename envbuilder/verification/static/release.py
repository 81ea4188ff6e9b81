"""Static checks of a release's requirements: the stub's Python, the image's glibc and libstdc++, extraction."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.archive.elf import machine_of
from envbuilder.catalog.triton import Release
from envbuilder.verification import hints
from envbuilder.verification.failures import Made, guarded
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static import foreign_release as foreign
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.linking import is_newer
from envbuilder.verification.static.needs import check_needs


def check_release(archive: Archive, release: Release) -> Iterator[Check]:
    """Check the requirements of *release*, unless nothing is known of the archive."""
    if archive.is_unread:
        return
    checks: tuple[tuple[str, Callable[[Archive, Release], Made]], ...] = (
        ("archive.through-links", _check_through_links),
        ("layout.libpython", _check_libpython),
        ("system.glibc", _check_glibc),
        ("system.libstdcxx", _check_libstdcxx),
        ("linking.needs", check_needs),
        ("system.demands", _check_demands),
    )
    for id, make in checks:
        made = guarded(id, functools.partial(make, archive, release), release)
        yield from foreign.fitted(made, archive, release) if archive.is_foreign else made


def _check_through_links(archive: Archive, release: Release) -> Check:
    names = [name for kind, name in archive.contents.problems if kind == "through-link"]
    if not names:
        return passed("archive.through-links", "no member is written through a linked folder", release)
    text = f"members written through a linked folder: {some(names)}"
    fix = "write them with their real path"
    if release.extraction == "secure":
        return failed("archive.through-links", f"{text}; {release.name} rejects them", fix, release)
    return check(
        "archive.through-links", "warning", f"{text}; releases since 26.06 reject them", fix, release
    )


def _check_libpython(archive: Archive, release: Release) -> Check:
    wanted = " or ".join(f"lib/libpython{minor}.so.1.0" for minor in release.pythons)
    found = [minor for minor in archive.libpythons if archive.holds(f"lib/libpython{minor}.so.1.0")]
    fitting = [minor for minor in found if minor in release.pythons]
    library = archive.file(f"lib/libpython{fitting[0]}.so.1.0") if fitting else None
    machine = machine_of(library) if library is not None else "x86-64"
    if machine != "x86-64":
        text = f"lib/libpython{fitting[0]}.so.1.0 is " + (f"for {machine}" if machine else "no ELF file")
        fix = "create the environment on x86-64 Linux" if machine else "reinstall its Python"
        return failed("layout.libpython", f"{text}; the stub of {release.name} is for x86-64", fix, release)
    if fitting:
        return passed("layout.libpython", f"lib/libpython{fitting[0]}.so.1.0 fits the stub", release)
    has = some([f"lib/libpython{minor}.so.1.0" for minor in found]) or "no libpython at all"
    return failed(
        "layout.libpython",
        f"the stub of {release.name} needs {wanted}; the archive has {has}",
        f'build it with Python {" or ".join(release.pythons)}: `triton: "{release.name}"` in the recipe selects it',
        release,
    )


def _check_glibc(archive: Archive, release: Release) -> Check:
    asked = archive.linking.highest_glibc()
    image = release.glibc or _host_glibc() or release.wheel_glibc
    where = f"the image of {release.name}" if release.glibc else "this machine"
    if asked is None:
        return passed("system.glibc", "no ELF file requires a version of glibc", release)
    version, path = asked
    text = f"{path} requires GLIBC_{version}; {where} has {image}"
    if is_newer(version, image):
        return failed("system.glibc", text, hints.fit_glibc(archive.owner(path), path, image), release)
    return passed("system.glibc", text, release)


def _host_glibc() -> str | None:
    """Return the version of this machine's glibc, if it has one."""
    name = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    return name.removeprefix("glibc ") if name else None


def _check_libstdcxx(archive: Archive, release: Release) -> Iterator[Check]:
    bundled = archive.linking.libstdcxx
    if bundled is None:
        yield passed("system.libstdcxx", "the archive has no libstdc++ of its own in lib/", release)
    else:
        text = f"lib/libstdc++.so.6 has GLIBCXX up to {bundled}; {release.name}'s stub requires {release.stub_glibcxx}"
        if is_newer(release.stub_glibcxx, bundled):
            fix = "remove it, so that the image's is used, or include a newer one: otherwise the stub does not start"
            yield failed("system.libstdcxx", text, fix, release)
        else:
            yield passed("system.libstdcxx", text, release)
    available = bundled or release.glibcxx
    asked = archive.linking.highest_glibcxx()
    if asked is None:
        yield passed("system.glibcxx", "no ELF file requires a version of libstdc++", release)
        return
    version, path = asked
    text = f"{path} requires GLIBCXX_{version}; the stub's process has {available}"
    if is_newer(version, available):
        yield failed(
            "system.glibcxx", text, "use a version of the package that is built for an older system", release
        )
    else:
        yield passed("system.glibcxx", text, release)


def _check_demands(archive: Archive, release: Release) -> Check:
    packages = archive.packages
    wrong = []
    for demand in map(Requirement, release.demands):
        version = packages.get(canonicalize_name(demand.name))
        if version is None:
            wrong.append(f"{demand} (missing)")
        elif not demand.specifier.contains(version, prereleases=True):
            wrong.append(f"{demand} (found {version})")
    if wrong:
        why = (
            " (with NumPy 2, its stub sends pb_utils.Tensor(name, array) empty; tensors passed by DLPack are complete)"
            if any("numpy" in demand and "missing" not in demand for demand in wrong)
            else ""
        )
        fix = f'`triton: "{release.name}"` in the recipe locks the right versions'
        return failed("system.demands", f"{release.name} requires {', '.join(wrong)}{why}", fix, release)
    return passed(
        "system.demands", f"meets the requirements of {release.name}: {', '.join(release.demands)}", release
    )
