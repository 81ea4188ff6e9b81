"""Find out whether `build` left out what could not be imported or opened."""

from __future__ import annotations

import re
from typing import Final

from envbuilder.archive.exclude import PackRules
from envbuilder.verification.static.extracted import Archive

_NO_NAME: Final = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_EXTRACTED: Final = re.compile(r"^.*/python_env_[^/]+/[^/]+/")


def pattern_that_left_out(
    archive: Archive, *, missing: str | None = None, text: str = "", file: str | None = None
) -> str | None:
    """Return the pattern that excluded a module or a file from *archive*, if one did.

    *missing* is the module that an error names, *text* the error's text, *file* the file that it names.
    """
    manifest = archive.manifest
    if manifest is None:
        return None
    rules = PackRules(exclude=tuple(manifest.pack.get("exclude", ())))
    minor = ".".join(manifest.python.split(".")[:2])
    library = f"lib/python{minor}"
    there = archive.contents.members
    asked: list[list[str]] = []
    if file and _EXTRACTED.match(file):
        asked.append([_EXTRACTED.sub("", file)])
    names = [missing] if missing else []
    match = _NO_NAME.search(text)
    if match is not None:
        names.append(f"{match[2]}.{match[1]}")
    for name in names:
        inner = name.replace(".", "/")
        folders = (f"{library}/site-packages", library)
        paths = [f"{folder}/{inner}{end}" for folder in folders for end in (".py", "/__init__.py")]
        asked.append([*paths, f"{library}/lib-dynload/{inner}.so"])
    return next(
        (
            found
            for paths in asked
            if there.keys().isdisjoint(paths)  # a name of a module that is there was not left out
            for path in paths
            if (found := rules.excluded_by(path))
        ),
        None,
    )
