"""Recognize failures of a server that is older than an archive's release, and lacks a name that the release has."""

from __future__ import annotations

import re

from envbuilder.catalog.python_backend import came_with
from envbuilder.catalog.triton import find_release
from envbuilder.errors import RecipeError
from envbuilder.verification.server.servers import Server


def lacked_by_server(server: Server, release: str, said: str) -> str | None:
    """Return a message if *server* failed because it lacks a name that the archive's *release* has; else None.

    *said* is the error of the server. None also if the release of the server or of the archive is unknown.
    """
    if server.release is None:
        return None
    try:
        archive = find_release(release)
    except RecipeError:  # an archive of another tool names no release
        return None
    for name in find_release(server.release).lacks:
        if name not in archive.lacks and _is_named(name, said):
            return (
                f"{server.describe()} lacks {name}, which Triton has since release {came_with(name)}; {release}, which "
                "the archive is for, has it: test on a server of that release"
            )
    return None


def _is_named(name: str, said: str) -> bool:
    """Return whether *said*, an error of Python or pybind11 in a stub, is about *name*."""
    owner, _, attribute = name.partition(".")
    method, _, argument = attribute.partition("(")
    if not argument:
        return f"no attribute '{attribute or name}'" in said or f"cannot import name '{name}'" in said
    shown = owner if method == "__init__" else method
    arguments = rf"{shown}\(.*incompatible|incompatible .*\b{shown}\("
    return bool(re.search(arguments, said, re.DOTALL)) and f"{argument.rstrip(')')}=" in said
