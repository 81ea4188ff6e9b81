"""Static checks of an environment that another tool packed, with hints for that tool.

Problems that do not affect a server are warnings here: a missing manifest, scripts and settings that name the
original folder. Only ``envbuilder build`` guarantees that there are none.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from envbuilder.archive.extract import Problem
from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.errors import IntegrityError
from envbuilder.foreign.packages import editable_paths
from envbuilder.lockfile.model import Lock
from envbuilder.util.text import counted
from envbuilder.verification import foreign_hints as hints
from envbuilder.verification.failures import Made
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.linking import host_runpaths
from envbuilder.verification.static.members import MEMBER_PROBLEMS, check_name

_EXTRACTED: Final[Mapping[Problem, str]] = {
    "device": "; a model needs none, and a server that is not run by root may fail to create them",
    "twice": "; the last of each counts",
}
"""Problems of members that a server extracts all the same, and what comes of them."""
_INTERPRETER: Final = re.compile(r"bin/python[\d.]* -> .*")


def foreign_checks(archive: Archive, lock: Lock | None) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Yield the checks that apply to every release: the id, and the function that makes it."""
    yield "archive.readable", lambda: _check_readable(archive)
    if archive.is_unread:
        return
    yield "archive.name", lambda: check_name(archive)
    yield "archive.members", lambda: _check_members(archive)
    yield "layout.activate", lambda: _check_layout(archive)
    yield "layout.editable", lambda: _check_editable(archive)
    yield "paths.links", lambda: (_check_links(archive), _check_traces(archive))
    yield "linking.runpath", lambda: _check_runpaths(archive)
    yield "manifest.present", lambda: _check_manifest(archive, lock)


def is_conda(archive: Archive) -> bool:
    """Return whether conda made the environment."""
    return any(path.startswith("conda-meta/") for path in archive.contents.members)


def _check_readable(archive: Archive) -> Check:
    contents = archive.contents
    if contents.damage is not None:
        text = f"{archive.path.name}: {contents.damage}"
        return failed("archive.readable", text, "copy it again, or pack the environment again")
    if contents.refused is not None:
        text = f"{archive.path.name}: {contents.refused}: Triton does not extract this"
        return failed(
            "archive.readable", text, hints.unpack_and_pack(archive.path.name, conda=is_conda(archive))
        )
    how = "gzip" if contents.compression == "gzip" else "not compressed"
    return passed(
        "archive.readable", f"{len(contents.members)} files and links, {contents.size} bytes, {how}"
    )


def _check_members(archive: Archive) -> Iterator[Check]:
    texts, fixes, linked, lesser = [], [], [], []
    for problem, (what, fix) in MEMBER_PROBLEMS.items():
        names = [name for kind, name in archive.contents.problems if kind == problem]
        # A hard link to a member is extracted; one to anything else is not.
        if problem == "hard-link":
            linked = [name for name in names if name.partition(" (to ")[0] in archive.contents.members]
            names = [name for name in names if name not in linked]
        if problem in _EXTRACTED:
            extracted = [name for name in names if problem != "twice" or name in archive.contents.members]
            names = [name for name in names if name not in extracted]
            if extracted:
                lesser.append((f"{what}: {some(extracted)}{_EXTRACTED[problem]}", fix))
        if names:
            texts.append(f"{what}: {some(names)}")
            fixes.append(fix)
    if linked:
        text = (
            f"hard links: {some(linked)}; when several models load in parallel, Triton fails to extract them"
        )
        lesser.append((text, "store every file separately, as `tar --hard-dereference` does"))
    if texts:
        yield failed("archive.members", "; ".join(texts), "; ".join(fixes))
    elif lesser:
        found, cures = zip(*lesser, strict=True)
        yield check("archive.members", "warning", "; ".join(found), "; ".join(cures))
    else:
        yield passed(
            "archive.members", "every member stays inside the environment; no hard links, no devices"
        )


def _check_layout(archive: Archive) -> Iterator[Check]:
    if archive.around:
        text = f"everything is in the folder {archive.around}/: Triton expects bin/activate and lib/ at the top level"
        name, around = shlex.quote(archive.path.name), shlex.quote(archive.around)
        fix = f"`tar -xf {name}`, then `tar -C {around} -czf NAME.tar.gz .`"
        yield failed("layout.activate", text, fix)
        return
    conda = is_conda(archive)
    if archive.holds("bin/activate"):
        yield passed("layout.activate", "bin/activate is present")
    else:
        text = "bin/activate is missing: Triton requires it in an execution environment"
        yield failed("layout.activate", text, hints.write_activate(conda))
    python = archive.environment / "bin" / "python3"
    if archive.holds("bin/python3") and os.access(python, os.X_OK):
        yield passed("layout.python", "bin/python3 is present and executable")
    elif archive.contents.tree.resolve("bin/python3").end != "outside":
        text = "bin/python3 is missing or not executable: torch starts it for its compile workers"
        yield failed("layout.python", text, hints.pack_again(conda))


def _check_editable(archive: Archive) -> Check | None:
    outside = [f"{path} ({text})" for path, text in editable_paths(archive.survey.texts)]
    outside += [
        f"{one.package.name} ({one.url})" for one in archive.found_packages.pip if one.editable and one.url
    ]
    if not outside:
        return None
    text = f"editable packages, whose files are in a folder of the machine where they were installed: {some(outside)}"
    fix = "install them into the environment (`pip install .`, without -e) and pack it again"
    return check("layout.editable", "warning", text, fix)


def _check_links(archive: Archive) -> Check:
    out = [link for link in archive.contents.links_out if not _INTERPRETER.fullmatch(link)]
    if out:
        text = (
            f"links that point outside the environment: {some(out)}; whether their targets exist on a server is not "
            "known"
        )
        return check("paths.links", "unknown", text, hints.links_out())
    return passed("paths.links", "no link points outside the environment")


def _check_traces(archive: Archive) -> Check:
    scripts = _elsewhere(archive, archive.build_paths.shebangs)
    settings = _elsewhere(archive, archive.build_paths.sysconfig)
    named = list(dict.fromkeys((*scripts, *settings)))
    if named:
        text = f"files that contain the path of another folder: {some(named)}; Triton never runs conda-unpack"
        unpack = archive.holds("bin/conda-unpack")
        fix = hints.other_folder(scripts=bool(scripts), conda=is_conda(archive), unpack=unpack)
        return check("paths.prefixes", "warning", text, fix)
    return passed(
        "paths.prefixes", "no script and no setting contains the path of the folder that it was packed from"
    )


def _elsewhere(archive: Archive, traces: Iterable[str]) -> list[str]:
    """Return the files of *traces*, except those that name the folder in which they are served."""
    own = None if archive.folder is None else re.compile(rf"{re.escape(str(archive.folder))}[/)]")
    return [one.partition(" (")[0] for one in traces if own is None or own.search(one) is None]


def _check_runpaths(archive: Archive) -> Check:
    dead = [f"{path} ({element})" for path, element in host_runpaths(archive.linking)]
    text = f"the RUNPATHs of {counted(len(archive.linking.files), 'ELF file')} stay inside the environment"
    if dead:
        text += f", except some that point nowhere on a server: {some(dead, 3)}"
    return passed("linking.runpath", text)


def _check_manifest(archive: Archive, lock: Lock | None) -> Iterator[Check]:
    if archive.around:
        return
    try:
        measured = archive.measured
    except IntegrityError as error:
        yield failed("layout.libpython", error.message, error.hint or hints.pack_again(True))
        return
    torch = f"torch {measured.torch}" if measured.torch else "no torch"
    text = (
        f"no {MANIFEST_PATH}: another tool packed it, so there is no list of files to compare with; it contains "
        f"CPython {measured.python} ({measured.interpreter.origin}), {counted(len(measured.conda), 'conda package')}, "
        f"{counted(len(measured.packages), 'pip package')}, {torch}"
    )
    unread = archive.found_packages.unread
    if unread:
        text += (
            f"; records of packages that cannot be understood, which a server does not read: {some(unread)}"
        )
        fix = "reinstall these packages, and pack it again: `sbom`, `licenses` and `audit` need to know all of them"
        yield check("manifest.present", "warning", text, fix)
    else:
        yield check("manifest.present", "omitted", text)
    if lock is not None:
        fix = f"build the archive of this lock with `envbuilder build {lock.recipe}`"
        yield failed("manifest.lock", "the archive has no manifest, so it was not built from this lock", fix)
