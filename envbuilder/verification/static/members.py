"""Check the members and the name of an archive, regardless of the tool that packed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from envbuilder.archive.extract import Problem
from envbuilder.archive.limits import DEPTH
from envbuilder.verification.hints import REBUILD
from envbuilder.verification.report import Check, check, failed, passed
from envbuilder.verification.static.extracted import Archive

_NAMED: Final = re.compile(r".+-(?P<digest>[0-9a-f]{12})(\.tar\.gz|\.tar)")
MEMBER_PROBLEMS: Final[Mapping[Problem, tuple[str, str]]] = {
    "parent": (
        "members with '..' in their name",
        "write members with paths relative to the environment's folder",
    ),
    "absolute": (
        "members with an absolute name",
        "write members with paths relative to the environment's folder",
    ),
    "hard-link": (
        "hard links",
        "store every file separately: when several models load in parallel, Triton fails to extract hard links",
    ),
    "device": ("device nodes or fifos", "pack files, folders and symbolic links only"),
    "kind": ("members of an unknown kind", "pack files, folders and symbolic links only"),
    "charset": (
        "members whose PAX records are not ASCII, which Triton's libarchive cannot convert to a server's locale",
        "extract it, and pack it in GNU's format, which has no character set: `tar --format=gnu -C ENV -czf "
        "NAME.tar.gz .`",
    ),
    "name": (
        "members without a name, or links without a target",
        "give each file a name, and each link a target",
    ),
    "deep": ("members nested too deeply", f"nest at most {DEPTH} folders"),
    "no-folder": (
        "members below a path that is not a folder",
        "write members into folders, not below files or broken links",
    ),
    "refused": ("members that this machine's file system cannot store", "use plain file names"),
    "outside": (
        "members written through a link that points outside the environment",
        "use links to paths inside the environment only",
    ),
    "twice": ("duplicate members", "pack each path once"),
}
"""The name of each problem, and what to change."""


def check_name(archive: Archive) -> Check:
    """Check that the name of *archive* matches its content."""
    name, digest = archive.path.name, archive.contents.sha256
    match = _NAMED.fullmatch(name)
    if match is None or (archive.is_foreign and match["digest"] != digest[:12]):  # a date, or a commit
        text = f"the file name {name} does not contain the archive's sha256, {digest}"
        fix = f"name it NAME-{digest[:12]}.tar.gz: Triton identifies an environment by its path, not by its content"
        return check("archive.name", "warning", text, fix)
    if match["digest"] != digest[:12]:
        text = f"the file name {name} says {match['digest']}, but the sha256 begins with {digest[:12]}"
        return failed(
            "archive.name", text, "its bytes changed after it was built: copy it again, or " + REBUILD
        )
    return passed("archive.name", f"the file name contains the sha256: {digest[:12]}")
