"""Static checks: what can be said of an extracted archive without running anything in it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.errors import IntegrityError
from envbuilder.lockfile import Lock, lock_text
from envbuilder.manifest import MANIFEST_PATH, Manifest, manifest_beside, parse_manifest
from envbuilder.pack.extract import Contents, Problem, extract
from envbuilder.progress import Reporter
from envbuilder.triton import Release
from envbuilder.verify.linking import Linking, host_runpaths, is_newer, read_linking, unresolved
from envbuilder.verify.report import Check, Status, some
from envbuilder.verify.traces import Traces, find_traces
from envbuilder.words import counted

_NAMED: Final = re.compile(r".+-(?P<digest>[0-9a-f]{12})(\.tar\.gz|\.tar)")
_LIBPYTHON: Final = re.compile(r"lib/libpython(?P<minor>3\.\d+)\.so\.1\.0")
_DIST_INFO: Final = re.compile(
    r"lib/python3\.\d+/site-packages/(?P<name>[^/]+)-(?P<version>[^/-]+)\.dist-info/METADATA"
)
_REBUILD: Final = "build it again with `envbuilder build`"
_MEMBER_PROBLEMS: Final[Mapping[Problem, tuple[str, str]]] = {
    "parent": (
        "members with '..' in their name",
        "write members by their path from the environment's folder",
    ),
    "absolute": (
        "members with an absolute name",
        "write members by their path from the environment's folder",
    ),
    "hard-link": (
        "hard links",
        "write each file by itself: while Triton extracts, links break where models load in parallel",
    ),
    "device": ("device nodes or fifos", "an environment has files, folders and symbolic links only"),
    "outside": ("members written through a link out of the environment", "links lead to paths inside it"),
    "twice": ("members that are in it twice", "write each path once"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An archive that was read and extracted, with everything that the checks ask."""

    path: Path
    contents: Contents
    environment: Path
    """The folder it was extracted into."""
    manifest: Manifest | None
    manifest_error: str | None
    linking: Linking
    traces: Traces

    @property
    def packages(self) -> dict[str, str]:
        """Version of each package that is installed, by normalized name."""
        matches = map(_DIST_INFO.fullmatch, self.contents.members)
        return {canonicalize_name(match["name"]): match["version"] for match in matches if match}

    @property
    def libpythons(self) -> list[str]:
        """Minor versions whose libpython the archive has."""
        found = (_LIBPYTHON.fullmatch(path) for path in self.contents.members)
        return sorted(match["minor"] for match in found if match)


def open_archive(
    path: Path, environment: Path, places: Callable[[Manifest | None], Sequence[Path]], reporter: Reporter
) -> Archive:
    """Extract the archive *path* into *environment* and read what the checks ask.

    *places* gives the folders of this machine that no file may name.

    Raises:
        VerifyError: there is no such file, or no disk to extract it on.
    """
    contents = extract(path, environment, reporter=reporter)
    manifest, error = _read_manifest(contents, environment)
    return Archive(
        path=path,
        contents=contents,
        environment=environment,
        manifest=manifest,
        manifest_error=error,
        linking=read_linking(environment, contents.members),
        traces=find_traces(environment, contents.members, places(manifest)),
    )


def _read_manifest(contents: Contents, environment: Path) -> tuple[Manifest | None, str | None]:
    """Return the manifest inside an archive, or why there is none."""
    if MANIFEST_PATH not in contents.members:
        return None, f"the archive has no {MANIFEST_PATH}"
    try:
        return parse_manifest((environment / MANIFEST_PATH).read_bytes(), where=MANIFEST_PATH), None
    except (IntegrityError, OSError) as error:
        return None, str(error)


def check_archive(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    """Check what is the same for every release."""
    yield _check_readable(archive)
    yield _check_name(archive)
    yield _check_members(archive)
    yield from _check_layout(archive)
    yield from _check_traces(archive)
    yield from _check_linking(archive)
    yield from _check_manifest(archive, lock)


def check_release(archive: Archive, release: Release) -> Iterator[Check]:
    """Check what *release* demands."""
    yield _check_through_links(archive, release)
    yield _check_libpython(archive, release)
    yield _check_glibc(archive, release)
    yield from _check_libstdcxx(archive, release)
    yield _check_demands(archive, release)


# -- the archive as a file -------------------------------------------------------------------------


def _check_readable(archive: Archive) -> Check:
    contents = archive.contents
    if contents.damage is not None:
        return _failed(
            "archive.readable", f"{archive.path.name}: {contents.damage}", "copy it again, or " + _REBUILD
        )
    how = "gzip" if contents.compression == "gzip" else "not compressed"
    return _passed(
        "archive.readable", f"{len(contents.members)} files and links, {contents.size} bytes, {how}"
    )


def _check_name(archive: Archive) -> Check:
    name, digest = archive.path.name, archive.contents.sha256
    match = _NAMED.fullmatch(name)
    if match is None:
        text = f"{name} does not tell its content; its sha256 is {digest}"
        fix = f"name it NAME-{digest[:12]}.tar.gz: Triton knows an environment by its path and never by its bytes"
        return _check("archive.name", "warning", text, fix)
    if match["digest"] != digest[:12]:
        text = f"{name} says {match['digest']}, its sha256 begins with {digest[:12]}"
        return _failed(
            "archive.name", text, "its bytes changed after it was built: copy it again, or " + _REBUILD
        )
    return _passed("archive.name", f"the name tells the sha256: {digest[:12]}")


def _check_members(archive: Archive) -> Check:
    texts, fixes = [], []
    for problem, (what, fix) in _MEMBER_PROBLEMS.items():
        names = [name for kind, name in archive.contents.problems if kind == problem]
        if names:
            texts.append(f"{what}: {some(names)}")
            fixes.append(fix)
    if texts:
        return _failed("archive.members", "; ".join(texts), "; ".join(fixes))
    return _passed("archive.members", "no member leaves the environment; no hard links, no devices")


def _check_through_links(archive: Archive, release: Release) -> Check:
    names = [name for kind, name in archive.contents.problems if kind == "through-link"]
    if not names:
        return _passed("archive.through-links", "no member is written through a linked folder", release)
    text = f"members written through a linked folder: {some(names)}"
    fix = "write them by their real path"
    if release.extraction == "secure":
        return _failed("archive.through-links", f"{text}; {release.name} refuses them", fix, release)
    return _check(
        "archive.through-links", "warning", f"{text}; releases from 26.06 on refuse them", fix, release
    )


# -- layout ----------------------------------------------------------------------------------------


def _check_layout(archive: Archive) -> Iterator[Check]:
    if _is_file(archive, "bin/activate"):
        yield _passed("layout.activate", "bin/activate is there")
    else:
        yield _failed(
            "layout.activate",
            "no bin/activate: Triton takes no folder without it for an environment",
            "pack the environment with `envbuilder build`, or with conda-pack",
        )
    python = archive.environment / "bin" / "python3"
    if _is_file(archive, "bin/python3") and os.access(python, os.X_OK):
        yield _passed("layout.python", "bin/python3 is there and can be run")
    else:
        yield _failed(
            "layout.python",
            "no bin/python3 that can be run: torch starts it for its compile workers",
            "an environment holds its interpreter, not a link to one outside",
        )


def _check_libpython(archive: Archive, release: Release) -> Check:
    wanted = " or ".join(f"lib/libpython{minor}.so.1.0" for minor in release.pythons)
    found = [minor for minor in archive.libpythons if _is_file(archive, f"lib/libpython{minor}.so.1.0")]
    fitting = [minor for minor in found if minor in release.pythons]
    if fitting:
        return _passed("layout.libpython", f"lib/libpython{fitting[0]}.so.1.0 fits the stub", release)
    has = some([f"lib/libpython{minor}.so.1.0" for minor in found]) or "no libpython at all"
    return _failed(
        "layout.libpython",
        f"the stub of {release.name} links {wanted}; the archive has {has}",
        f'build it with Python {" or ".join(release.pythons)}: `triton: "{release.name}"` in the recipe sees to that',
        release,
    )


# -- the machine it was built on -------------------------------------------------------------------


def _check_traces(archive: Archive) -> Iterator[Check]:
    traces = archive.traces
    rows: Sequence[tuple[str, list[str], str, str, str]] = (
        (
            "paths.links",
            traces.links,
            "links that lead out",
            "no link leads out",
            "links lead to paths inside",
        ),
        (
            "paths.shebangs",
            traces.shebangs,
            "scripts that start a program of the build machine",
            "scripts start through the system",
            "begin them with #!/usr/bin/env python3",
        ),
        (
            "paths.records",
            traces.records,
            "package records that name files of the build machine",
            "package records name files inside only",
            "install from wheels, not in place",
        ),
        (
            "paths.sysconfig",
            traces.sysconfig,
            "_sysconfigdata with a prefix of the build machine",
            "_sysconfigdata has no fixed prefix",
            "its prefix must be the folder it is loaded from",
        ),
        (
            "paths.bytecode",
            traces.bytecode,
            "bytecode with a path of the build machine",
            "bytecode has no path of the build machine",
            "compile with relative paths",
        ),
        (
            "paths.places",
            traces.places,
            "files that name a folder of this machine",
            "no file names the interpreter, the store or this program's folder",
            "what is rewritten must be rewritten everywhere",
        ),
    )
    for id, found, what, fine, fix in rows:
        if found:
            yield _failed(id, f"{what}: {some(found)}", f"{fix}; {_REBUILD}")
        else:
            yield _passed(id, fine)


def _check_linking(archive: Archive) -> Iterator[Check]:
    linking = archive.linking
    host = list(host_runpaths(linking))
    if host:
        yield _failed(
            "linking.runpath",
            f"RUNPATHs that lead out of the environment: {some(host)}",
            "a RUNPATH begins with $ORIGIN and stays inside; " + _REBUILD,
        )
    else:
        yield _passed(
            "linking.runpath", f"the RUNPATHs of {counted(len(linking.files), 'ELF file')} stay inside"
        )
    missing = list(unresolved(linking, archive.contents.members))
    if missing:
        yield _failed(
            "linking.needs",
            f"libraries that neither the environment nor the base system has: {some(missing)}",
            "a package that needs a system library has to bring it: use its wheel from the package index",
        )
    else:
        yield _passed("linking.needs", "every library needed is in the environment or the base system")


# -- the release's image ---------------------------------------------------------------------------


def host_glibc() -> str | None:
    """Return the version of this machine's glibc, where it has one."""
    name = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    return name.removeprefix("glibc ") if name else None


def _check_glibc(archive: Archive, release: Release) -> Check:
    asked = archive.linking.highest_glibc()
    image = release.glibc or host_glibc() or release.wheel_glibc
    where = f"the image of {release.name}" if release.glibc else "this machine"
    if asked is None:
        return _passed("system.glibc", "no ELF file asks a version of glibc", release)
    version, path = asked
    text = f"{path} asks GLIBC_{version}; {where} has {image}"
    if is_newer(version, image):
        fix = f"take versions whose wheels are for manylinux_{image.replace('.', '_')} or older, or a newer release"
        return _failed("system.glibc", text, fix, release)
    return _passed("system.glibc", text, release)


def _check_libstdcxx(archive: Archive, release: Release) -> Iterator[Check]:
    bundled = archive.linking.libstdcxx
    if bundled is None:
        yield _passed("system.libstdcxx", "the archive has no libstdc++ of its own in lib/", release)
    else:
        text = f"lib/libstdc++.so.6 has GLIBCXX up to {bundled}; the stub of {release.name} asks {release.stub_glibcxx}"
        if is_newer(release.stub_glibcxx, bundled):
            fix = "leave it out, so that the image's is used, or bring a newer one: the stub itself would not start"
            yield _failed("system.libstdcxx", text, fix, release)
        else:
            yield _passed("system.libstdcxx", text, release)
    available = bundled or release.glibcxx
    asked = archive.linking.highest_glibcxx()
    if asked is None:
        yield _passed("system.glibcxx", "no ELF file asks a version of libstdc++", release)
        return
    version, path = asked
    text = f"{path} asks GLIBCXX_{version}; the stub's process has {available}"
    if is_newer(version, available):
        yield _failed(
            "system.glibcxx", text, "take a version of the package built for an older system", release
        )
    else:
        yield _passed("system.glibcxx", text, release)


def _check_demands(archive: Archive, release: Release) -> Check:
    packages = archive.packages
    wrong = []
    for demand in map(Requirement, release.demands):
        version = packages.get(canonicalize_name(demand.name))
        if version is None:
            wrong.append(f"{demand} (not there)")
        elif not demand.specifier.contains(version, prereleases=True):
            wrong.append(f"{demand} (there is {version})")
    if wrong:
        why = (
            " (with NumPy 2 its stub sends pb_utils.Tensor(name, array) empty; tensors that cross by DLPack are whole)"
            if any("numpy" in demand and "not there" not in demand for demand in wrong)
            else ""
        )
        fix = f'`triton: "{release.name}"` in the recipe puts the right versions into the lock'
        return _failed("system.demands", f"{release.name} demands {', '.join(wrong)}{why}", fix, release)
    return _passed(
        "system.demands", f"has what {release.name} demands: {', '.join(release.demands)}", release
    )


# -- the manifest ----------------------------------------------------------------------------------


def _check_manifest(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    manifest = archive.manifest
    if manifest is None:
        text = archive.manifest_error or "no manifest"
        yield _failed("manifest.present", text, _REBUILD)
        for id in ("manifest.files", "manifest.packages", "manifest.torch"):
            yield _check(id, "omitted", "there is no manifest to compare with")
        return
    yield _check_beside(archive, manifest)
    yield _check_files(archive, manifest)
    yield _check_packages(archive, manifest)
    yield _check_torch(archive, manifest)
    if lock is not None:
        yield _check_lock(manifest, lock)


def _check_beside(archive: Archive, manifest: Manifest) -> Check:
    beside = manifest_beside(archive.path)
    inside = (archive.environment / MANIFEST_PATH).read_bytes()
    if not beside.is_file():
        return _passed(
            "manifest.present", f"{MANIFEST_PATH}, format {manifest.format}; none beside the archive"
        )
    if beside.read_bytes() != inside:
        text = f"{beside.name} beside the archive is not the manifest in it"
        return _failed("manifest.present", text, "copy both again, or delete the one beside it")
    return _passed(
        "manifest.present", f"{MANIFEST_PATH}, format {manifest.format}; the same beside the archive"
    )


def _check_files(archive: Archive, manifest: Manifest) -> Check:
    members = archive.contents.members
    listed = {file.path: file for file in manifest.files}
    missing = sorted(path for path in listed if path not in members)
    extra = sorted(path for path in members if path not in listed and path != MANIFEST_PATH)
    changed = []
    for path, file in listed.items():
        member = members.get(path)
        if member is not None and (member.sha256, member.link) != (file.sha256, file.link):
            changed.append(path)
        elif member is not None and member.link is None and (member.mode ^ file.mode) & 0o777:
            changed.append(f"{path} (mode {member.mode & 0o777:o}, not {file.mode & 0o777:o})")
    found = (("missing", missing), ("changed", changed), ("not in the manifest", extra))
    wrong = [f"{what}: {some(paths)}" for what, paths in found if paths]
    if wrong:
        return _failed("manifest.files", f"files {'; '.join(wrong)}", _REBUILD)
    return _passed("manifest.files", f"sha256 and mode of {counted(len(listed), 'file')} are the manifest's")


def _check_packages(archive: Archive, manifest: Manifest) -> Check:
    installed = archive.packages
    listed = {canonicalize_name(package.name): package.version for package in manifest.packages}
    wrong = [f"{name} {version} is missing" for name, version in listed.items() if name not in installed]
    wrong += [
        f"{name} {version} is not in the manifest"
        for name, version in installed.items()
        if name not in listed
    ]
    wrong += [
        f"{name} is {installed[name]}, not {version}"
        for name, version in listed.items()
        if name in installed and installed[name] != version
    ]
    if wrong:
        return _failed("manifest.packages", f"packages: {some(wrong)}", _REBUILD)
    return _passed(
        "manifest.packages", f"{counted(len(listed), 'package')}, each with the manifest's version"
    )


def _check_torch(archive: Archive, manifest: Manifest) -> Check:
    version, cuda = torch_build(archive.environment, archive.contents.members)
    if version is None:
        text = f"no torch in the archive; the manifest says {manifest.torch}"
        return _failed("manifest.torch", text, _REBUILD)
    has = f"torch {version}, {'CUDA ' + cuda if cuda else 'without CUDA'}"
    says = f"torch {manifest.torch}, cuda: {manifest.cuda}"
    same_version = version.split("+")[0] == manifest.torch.split("+")[0]
    if same_version and _is_cuda(cuda, manifest.cuda):
        return _passed("manifest.torch", f"{has}, as the lock says ({says})")
    return _failed("manifest.torch", f"the archive has {has}; its lock says {says}", _REBUILD)


def torch_build(environment: Path, members: Iterable[str]) -> tuple[str | None, str | None]:
    """Return the version and the CUDA version that ``torch/version.py`` states."""
    path = next(
        (p for p in members if re.fullmatch(r"lib/python3\.\d+/site-packages/torch/version\.py", p)), None
    )
    if path is None:
        return None, None
    text = (environment / path).read_text(errors="replace")
    version = re.search(r"^__version__\b[^=]*= *['\"]([^'\"]+)", text, re.MULTILINE)
    cuda = re.search(r"^cuda\b[^=]*= *['\"]([^'\"]+)", text, re.MULTILINE)
    return version and version[1], cuda and cuda[1]


def _is_cuda(found: str | None, variant: str) -> bool:
    """Say whether torch built for *found* (``12.6``) is the recipe's *variant* (``cu126``)."""
    if variant == "pypi":  # whatever the index built
        return True
    return (
        (found is None)
        if variant == "cpu"
        else (found is not None and f"cu{found.replace('.', '')}" == variant)
    )


def _check_lock(manifest: Manifest, lock: Lock) -> Check:
    listed = {package.name: (package.version, package.sha256) for package in manifest.packages}
    locked = {artifact.name: (artifact.version, artifact.sha256) for artifact in lock.artifacts}
    wrong = sorted(name for name in listed.keys() | locked.keys() if listed.get(name) != locked.get(name))
    if wrong:
        text = f"built from another lock: {some(wrong)} differ"
        return _failed("manifest.lock", text, _REBUILD)
    if manifest.lock_digest != hashlib.sha256(lock_text(lock).encode()).hexdigest():
        text = "the same packages, but the lock was changed after the archive was built"
        return _check("manifest.lock", "warning", text, _REBUILD)
    return _passed("manifest.lock", f"built from this lock, {counted(len(locked), 'artifact')}")


# -- making checks ---------------------------------------------------------------------------------


def _is_file(archive: Archive, path: str) -> bool:
    """Say whether *path* is a file of the archive, or a link to one inside."""
    place = archive.environment / path
    try:
        inside = place.resolve().relative_to(archive.environment.resolve())
    except ValueError:
        return False
    return posixpath.join(*inside.parts) in archive.contents.members if inside.parts else False


def _check(
    id: str, status: Status, found: str, fix: str | None = None, release: Release | None = None
) -> Check:
    return Check(id=id, status=status, found=found, fix=fix, release=release.name if release else None)


def _passed(id: str, found: str, release: Release | None = None) -> Check:
    return _check(id, "passed", found, None, release)


def _failed(id: str, found: str, fix: str, release: Release | None = None) -> Check:
    return _check(id, "failed", found, fix, release)
