"""Static checks of conda packages in an environment: a compiler, and the prefix that conda writes."""

from __future__ import annotations

import os
from collections import Counter
from typing import Final

from envbuilder.base.prefixes import PREFIXES_PATH, names_prefix, read_prefixes
from envbuilder.util.documents import LISTING, DocumentError
from envbuilder.util.files import read_regular
from envbuilder.verification.report import Check, check, failed, passed, some
from envbuilder.verification.static.extracted import Archive

_REBUILD: Final = "build it again with `envbuilder build`"


def check_compiler(archive: Archive) -> Check | None:
    """Check the compiler that *archive* names, if any."""
    path = archive.compiler
    if path is None:
        return None
    if archive.holds(path) and os.access(archive.environment / path, os.X_OK):
        return passed(
            "layout.compiler",
            f"{path} is present and executable: the runtime sets it as the compiler of torch.compile",
        )
    return failed(
        "layout.compiler",
        f"{path}, which the runtime sets as the compiler of torch.compile, is missing or not executable",
        _REBUILD,
    )


def check_prefixes(archive: Archive) -> Check | None:
    """Check that the list of files with conda's prefix is correct and complete."""
    if PREFIXES_PATH not in archive.contents.members:
        return None
    try:
        file = archive.file(PREFIXES_PATH)
        if file is None:
            return failed("paths.prefixes", f"{PREFIXES_PATH} is a link to no file of the archive", _REBUILD)
        uses = {use.path: use for use in read_prefixes(read_regular(file, most=LISTING.size + 1))}
    except OSError as error:
        return failed("paths.prefixes", f"{PREFIXES_PATH} cannot be read: {error.strerror}", _REBUILD)
    except DocumentError as error:
        return failed("paths.prefixes", error.message, _REBUILD)
    files = [path for path, member in archive.contents.members.items() if member.link is None]
    named = [path for path in files if names_prefix(archive.environment / path)]
    wrong = [path for path in named if path not in uses or uses[path].outcome == "cured"]
    doubtful = [path for path in named if path not in wrong and uses[path].outcome == "reported"]
    count = Counter(use.outcome for use in uses.values())
    if wrong:
        text = f"files that contain the install prefix of conda packages, and are not listed: {some(wrong)}"
        return failed("paths.prefixes", text, _REBUILD)
    if doubtful:
        text = f"files that contain a prefix that will not exist on the server: {some(doubtful)}"
        fix = "harmless unless the model reads them; otherwise use another build of the package, or exclude the files"
        return check("paths.prefixes", "warning", text, fix)
    text = (
        f"files that contained conda's prefix: {count['cured']} made relative, {count['harmless']} harmless"
    )
    return passed("paths.prefixes", text)
