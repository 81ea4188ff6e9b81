"""Static checks that apply to every release: they run nothing of the archive."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.extract import Member
from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, manifest_beside
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import lock_text
from envbuilder.util.documents import LISTING
from envbuilder.util.files import kind_of_file, read_regular
from envbuilder.util.text import counted
from envbuilder.verification.failures import Made, guarded
from envbuilder.verification.hints import base_file_hint
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static.conda import check_compiler, check_prefixes
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.foreign import foreign_checks
from envbuilder.verification.static.members import MEMBER_PROBLEMS, check_name
from envbuilder.verification.static.needs import check_runpaths

SLOW: Final = frozenset({"paths.links"})
_REBUILD: Final = "build it again with `envbuilder build`"


def archive_checks(archive: Archive, lock: Lock | None) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Yield the checks that apply to every release, in the order of a report: the id, and the function that makes it.

    Those in :data:`SLOW` read every byte again, and do not affect whether the archive can be run.
    """
    if archive.is_foreign:
        yield from foreign_checks(archive, lock)
        return
    yield "archive.readable", lambda: _check_readable(archive)
    if archive.is_unread:
        return
    yield "archive.name", lambda: check_name(archive)
    yield "archive.members", lambda: _check_members(archive)
    yield "layout.activate", lambda: _check_layout(archive)
    yield "paths.links", lambda: _check_build_paths(archive)
    yield "layout.compiler", lambda: check_compiler(archive)
    yield "paths.prefixes", lambda: check_prefixes(archive)
    yield "linking.runpath", lambda: check_runpaths(archive)
    yield "manifest.present", lambda: _check_manifest(archive, lock)


def check_archive(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    """Make the checks that apply to every release."""
    for id, make in archive_checks(archive, lock):
        yield from guarded(id, make)


# -- the archive as a file -------------------------------------------------------------------------


def _check_readable(archive: Archive) -> Check:
    contents = archive.contents
    damage = contents.refused or contents.damage
    if damage is not None:
        return failed("archive.readable", f"{archive.path.name}: {damage}", "copy it again, or " + _REBUILD)
    how = "gzip" if contents.compression == "gzip" else "not compressed"
    return passed(
        "archive.readable", f"{len(contents.members)} files and links, {contents.size} bytes, {how}"
    )


def _check_members(archive: Archive) -> Check:
    texts, fixes = [], []
    for problem, (what, fix) in MEMBER_PROBLEMS.items():
        names = [name for kind, name in archive.contents.problems if kind == problem]
        if names:
            texts.append(f"{what}: {some(names)}")
            fixes.append(fix)
    if texts:
        return failed("archive.members", "; ".join(texts), "; ".join(fixes))
    return passed("archive.members", "every member stays inside the environment; no hard links, no devices")


# -- layout ----------------------------------------------------------------------------------------


def _check_layout(archive: Archive) -> Iterator[Check]:
    if archive.holds("bin/activate"):
        yield passed("layout.activate", "bin/activate is present")
    else:
        yield failed(
            "layout.activate",
            "bin/activate is missing: Triton requires it in an execution environment",
            "pack the environment with `envbuilder build`, or with conda-pack",
        )
    python = archive.environment / "bin" / "python3"
    if archive.holds("bin/python3") and os.access(python, os.X_OK):
        yield passed("layout.python", "bin/python3 is present and executable")
    else:
        yield failed(
            "layout.python",
            "bin/python3 is missing or not executable: torch starts it for its compile workers",
            "the environment must contain its own interpreter, not a link to one outside",
        )


# -- the machine it was built on -------------------------------------------------------------------


def _check_build_paths(archive: Archive) -> Iterator[Check]:
    build_paths = archive.build_paths
    rows: Sequence[tuple[str, Sequence[str], str, str, str]] = (
        (
            "paths.links",
            archive.contents.links_out,
            "links that point outside the environment",
            "no link points outside the environment",
            "use links to paths inside the environment only",
        ),
        (
            "paths.shebangs",
            build_paths.shebangs,
            "scripts whose #! line names a program of the build machine",
            "scripts use #!/usr/bin/env",
            "start them with #!/usr/bin/env python3",
        ),
        (
            "paths.records",
            build_paths.records,
            "package records that name files of the build machine",
            "package records name files of the environment only",
            "install from wheels, not in editable mode",
        ),
        (
            "paths.sysconfig",
            build_paths.sysconfig,
            "_sysconfigdata with a prefix of the build machine",
            "_sysconfigdata contains no fixed prefix",
            "compute the prefix from the folder that the file is loaded from",
        ),
        (
            "paths.bytecode",
            build_paths.bytecode,
            "bytecode that contains a path of the build machine",
            "bytecode contains no path of the build machine",
            "compile it with relative paths",
        ),
        (
            "paths.places",
            build_paths.files,
            "files that contain the path of a folder of this machine",
            "no file contains the path of the interpreter, the store or this program",
            "replace that path in these files, too",
        ),
    )
    for id, found, what, fine, fix in rows:
        published = [one for one in found if _is_published(one, archive)]
        own = [one for one in found if one not in published]
        if own:
            cure = base_file_hint(archive.is_as_built(_path_of(own[0])), archive.same_tool)
            yield failed(id, f"{what}: {some(own)}", f"{fix}; {cure}")
        elif published:
            yield passed(id, f"{fine}, except what packages were published with: {some(published, 3)}")
        else:
            yield passed(id, fine)


def _path_of(trace: str) -> str:
    return trace.partition(" (")[0].partition(" -> ")[0]


def _is_published(trace: str, archive: Archive) -> bool:
    """Return whether a file is a package's and unchanged from its wheel: a rebuild cannot change it."""
    path = _path_of(trace)
    if path.endswith(("/RECORD", ".pyc")):
        return False  # files that the build writes itself
    return archive.owner(path) is not None and archive.is_as_built(path) is True


# -- the manifest ----------------------------------------------------------------------------------


def _check_manifest(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    manifest = archive.manifest
    if manifest is None:
        text = archive.manifest_error or "no manifest"
        yield failed("manifest.present", text, _REBUILD)
        for id in ("manifest.files", "manifest.packages", "manifest.torch"):
            yield check(id, "omitted", "the archive has no manifest to compare with")
        return
    yield from guarded("manifest.present", lambda: _check_beside(archive, manifest))
    yield from guarded("manifest.files", lambda: _check_files(archive, manifest))
    yield from guarded("manifest.packages", lambda: _check_packages(archive, manifest))
    yield from guarded("manifest.torch", lambda: _check_torch(archive, manifest))
    if lock is not None:
        yield _check_lock(manifest, lock)


def _check_beside(archive: Archive, manifest: Manifest) -> Check:
    beside = manifest_beside(archive.path)
    inside = read_regular(archive.environment / MANIFEST_PATH, most=LISTING.size + 1)
    if beside.exists() and not beside.is_file():
        text = f"{beside.name} beside the archive is {kind_of_file(beside.stat().st_mode)}, not a file"
        return failed("manifest.present", text, "delete it, or copy the manifest there")
    if not beside.is_file():
        return passed(
            "manifest.present", f"{MANIFEST_PATH}, format {manifest.format}; none beside the archive"
        )
    if read_regular(beside, most=len(inside) + 1) != inside:
        text = f"{beside.name} beside the archive differs from the manifest inside"
        return failed("manifest.present", text, "copy both files again, or delete the one beside the archive")
    return passed(
        "manifest.present", f"{MANIFEST_PATH}, format {manifest.format}; the same beside the archive"
    )


def _check_files(archive: Archive, manifest: Manifest) -> Check:
    members = archive.contents.members
    listed = {file.path: file for file in manifest.files}
    missing = sorted(path for path in listed if path not in members)
    linked = {name.partition(" (to ")[0] for kind, name in archive.contents.problems if kind == "hard-link"}
    known = {*listed, *linked, MANIFEST_PATH}
    extra = sorted(path for path in members if path not in known)
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
        return failed("manifest.files", f"files {'; '.join(wrong)}", _REBUILD)
    return passed("manifest.files", f"sha256 and mode of {counted(len(listed), 'file')} match the manifest")


def _check_packages(archive: Archive, manifest: Manifest) -> Check:
    installed = archive.packages
    listed = {package.name: package.version for package in manifest.packages} | dict(manifest.provides)
    listed = {canonicalize_name(name): version for name, version in listed.items()}
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
        return failed("manifest.packages", f"packages: {some(wrong)}", _REBUILD)
    return passed("manifest.packages", f"{counted(len(listed), 'package')}, each with the manifest's version")


def _check_torch(archive: Archive, manifest: Manifest) -> Check:
    version, cuda = _torch_build(archive.environment, archive.contents.members)
    if version is None:
        text = f"torch is missing from the archive; the manifest lists {manifest.torch}"
        return failed("manifest.torch", text, _REBUILD)
    has = f"torch {version}, {'CUDA ' + cuda if cuda else 'without CUDA'}"
    says = f"torch {manifest.torch}, cuda: {manifest.cuda}"
    same_version = version.split("+")[0] == manifest.torch.split("+")[0]
    if same_version and _is_cuda(cuda, manifest.cuda):
        return passed("manifest.torch", f"{has}, as the lock says ({says})")
    return failed("manifest.torch", f"the archive has {has}; its lock says {says}", _REBUILD)


def _torch_build(environment: Path, members: Mapping[str, Member]) -> tuple[str | None, str | None]:
    """Return the version and the CUDA version in ``torch/version.py``."""
    path = next(
        (p for p in members if re.fullmatch(r"lib/python3\.\d+/site-packages/torch/version\.py", p)), None
    )
    if path is None or members[path].link is not None:
        return None, None
    text = (environment / path).read_text(errors="replace")
    version = re.search(r"^__version__\b[^=]*= *['\"]([^'\"]+)", text, re.MULTILINE)
    cuda = re.search(r"^cuda\b[^=]*= *['\"]([^'\"]+)", text, re.MULTILINE)
    return version and version[1], cuda and cuda[1]


def _is_cuda(found: str | None, variant: str) -> bool:
    """Return whether torch built for *found* (``12.6``) matches the recipe's *variant* (``cu126``)."""
    if variant == "pypi":  # whichever build the index has
        return True
    return (
        (found is None)
        if variant == "cpu"
        else (found is not None and f"cu{found.replace('.', '')}" == variant)
    )


def _check_lock(manifest: Manifest, lock: Lock) -> Check:
    packages = manifest.all_packages
    listed = {(package.name, package.filename, package.version, package.sha256) for package in packages}
    locked = {(one.name, one.filename, one.version, one.sha256) for one in lock.all_artifacts}
    wrong = sorted({name for name, *_ in listed ^ locked})
    if wrong:
        text = f"built from a different lock: {some(wrong)} differ"
        return failed("manifest.lock", text, _REBUILD)
    if manifest.lock_digest != hashlib.sha256(lock_text(lock).encode()).hexdigest():
        text = "the packages are the same, but the lock was changed after the archive was built"
        return check("manifest.lock", "warning", text, _REBUILD)
    return passed("manifest.lock", f"built from this lock, {counted(len(locked), 'artifact')}")
