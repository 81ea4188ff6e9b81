"""Static checks that are the same for every release: what can be said without running anything of the archive."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.archive.extract import Member, Problem
from envbuilder.archive.limits import DEPTH
from envbuilder.archive.manifest import MANIFEST_PATH, Manifest, manifest_beside
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import lock_text
from envbuilder.util.documents import LISTING
from envbuilder.util.files import kind_of_file, read_regular
from envbuilder.util.text import counted
from envbuilder.verification.cures import mend_base
from envbuilder.verification.guard import Made, guarded
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static.conda import check_compiler, check_prefixes
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.needs import check_runpaths

_NAMED: Final = re.compile(r".+-(?P<digest>[0-9a-f]{12})(\.tar\.gz|\.tar)")
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
    "name": ("members without a name, or a target", "give each file a name, and each link a target"),
    "deep": ("members too deep in folders", f"an environment has at most {DEPTH} folders within each other"),
    "no-folder": (
        "members below what is no folder",
        "write members into folders, not below files or links that lead nowhere",
    ),
    "refused": ("members that this machine's file system refuses", "an environment has plain names only"),
    "outside": ("members written through a link out of the environment", "links lead to paths inside it"),
    "twice": ("members that are in it twice", "write each path once"),
}


def check_archive(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    """Check what is the same for every release."""
    checks: tuple[tuple[str, Callable[[], Made]], ...] = (
        ("archive.readable", lambda: _check_readable(archive)),
        ("archive.name", lambda: _check_name(archive)),
        ("archive.members", lambda: _check_members(archive)),
        ("layout.activate", lambda: _check_layout(archive)),
        ("paths.links", lambda: _check_traces(archive)),
        ("layout.compiler", lambda: check_compiler(archive)),
        ("paths.prefixes", lambda: check_prefixes(archive)),
        ("linking.runpath", lambda: check_runpaths(archive)),
        ("manifest.present", lambda: _check_manifest(archive, lock)),
    )
    for id, make in checks:
        yield from guarded(id, make)


# -- the archive as a file -------------------------------------------------------------------------


def _check_readable(archive: Archive) -> Check:
    contents = archive.contents
    if contents.damage is not None:
        return failed(
            "archive.readable", f"{archive.path.name}: {contents.damage}", "copy it again, or " + _REBUILD
        )
    how = "gzip" if contents.compression == "gzip" else "not compressed"
    return passed(
        "archive.readable", f"{len(contents.members)} files and links, {contents.size} bytes, {how}"
    )


def _check_name(archive: Archive) -> Check:
    name, digest = archive.path.name, archive.contents.sha256
    match = _NAMED.fullmatch(name)
    if match is None:
        text = f"{name} does not tell its content; its sha256 is {digest}"
        fix = f"name it NAME-{digest[:12]}.tar.gz: Triton knows an environment by its path and never by its bytes"
        return check("archive.name", "warning", text, fix)
    if match["digest"] != digest[:12]:
        text = f"{name} says {match['digest']}, its sha256 begins with {digest[:12]}"
        return failed(
            "archive.name", text, "its bytes changed after it was built: copy it again, or " + _REBUILD
        )
    return passed("archive.name", f"the name tells the sha256: {digest[:12]}")


def _check_members(archive: Archive) -> Check:
    texts, fixes = [], []
    for problem, (what, fix) in _MEMBER_PROBLEMS.items():
        names = [name for kind, name in archive.contents.problems if kind == problem]
        if names:
            texts.append(f"{what}: {some(names)}")
            fixes.append(fix)
    if texts:
        return failed("archive.members", "; ".join(texts), "; ".join(fixes))
    return passed("archive.members", "no member leaves the environment; no hard links, no devices")


# -- layout ----------------------------------------------------------------------------------------


def _check_layout(archive: Archive) -> Iterator[Check]:
    if archive.holds("bin/activate"):
        yield passed("layout.activate", "bin/activate is there")
    else:
        yield failed(
            "layout.activate",
            "no bin/activate: Triton takes no folder without it for an environment",
            "pack the environment with `envbuilder build`, or with conda-pack",
        )
    python = archive.environment / "bin" / "python3"
    if archive.holds("bin/python3") and os.access(python, os.X_OK):
        yield passed("layout.python", "bin/python3 is there and can be run")
    else:
        yield failed(
            "layout.python",
            "no bin/python3 that can be run: torch starts it for its compile workers",
            "an environment holds its interpreter, not a link to one outside",
        )


# -- the machine it was built on -------------------------------------------------------------------


def _check_traces(archive: Archive) -> Iterator[Check]:
    traces = archive.traces
    rows: Sequence[tuple[str, Sequence[str], str, str, str]] = (
        (
            "paths.links",
            archive.contents.links_out,
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
        published = [one for one in found if _is_published(one, archive)]
        own = [one for one in found if one not in published]
        if own:
            cure = mend_base(archive.is_as_built(_path_of(own[0])), archive.same_tool)
            yield failed(id, f"{what}: {some(own)}", f"{fix}; {cure}")
        elif published:
            yield passed(id, f"{fine}, but for what packages were published with: {some(published, 3)}")
        else:
            yield passed(id, fine)


def _path_of(trace: str) -> str:
    return trace.partition(" (")[0].partition(" -> ")[0]


def _is_published(trace: str, archive: Archive) -> bool:
    """Say whether a file is a package's and as the build took it from its wheel: no other build makes it otherwise."""
    path = _path_of(trace)
    if path.endswith(("/RECORD", ".pyc")):
        return False  # the build writes those itself
    return archive.owner(path) is not None and archive.is_as_built(path) is True


# -- the manifest ----------------------------------------------------------------------------------


def _check_manifest(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    manifest = archive.manifest
    if manifest is None:
        text = archive.manifest_error or "no manifest"
        yield failed("manifest.present", text, _REBUILD)
        for id in ("manifest.files", "manifest.packages", "manifest.torch"):
            yield check(id, "omitted", "there is no manifest to compare with")
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
        text = f"{beside.name} beside the archive is not the manifest in it"
        return failed("manifest.present", text, "copy both again, or delete the one beside it")
    return passed(
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
        return failed("manifest.files", f"files {'; '.join(wrong)}", _REBUILD)
    return passed("manifest.files", f"sha256 and mode of {counted(len(listed), 'file')} are the manifest's")


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
        text = f"no torch in the archive; the manifest says {manifest.torch}"
        return failed("manifest.torch", text, _REBUILD)
    has = f"torch {version}, {'CUDA ' + cuda if cuda else 'without CUDA'}"
    says = f"torch {manifest.torch}, cuda: {manifest.cuda}"
    same_version = version.split("+")[0] == manifest.torch.split("+")[0]
    if same_version and _is_cuda(cuda, manifest.cuda):
        return passed("manifest.torch", f"{has}, as the lock says ({says})")
    return failed("manifest.torch", f"the archive has {has}; its lock says {says}", _REBUILD)


def _torch_build(environment: Path, members: Mapping[str, Member]) -> tuple[str | None, str | None]:
    """Return the version and the CUDA version that ``torch/version.py`` states."""
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
    """Say whether torch built for *found* (``12.6``) is the recipe's *variant* (``cu126``)."""
    if variant == "pypi":  # whatever the index built
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
        text = f"built from another lock: {some(wrong)} differ"
        return failed("manifest.lock", text, _REBUILD)
    if manifest.lock_digest != hashlib.sha256(lock_text(lock).encode()).hexdigest():
        text = "the same packages, but the lock was changed after the archive was built"
        return check("manifest.lock", "warning", text, _REBUILD)
    return passed("manifest.lock", f"built from this lock, {counted(len(locked), 'artifact')}")
