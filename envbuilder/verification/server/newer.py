"""A server that is older than the release of an archive: what it refuses of a model, that release may have."""

from __future__ import annotations

import re

from envbuilder.catalog.python_backend import came_with
from envbuilder.catalog.triton import find_release
from envbuilder.errors import RecipeError
from envbuilder.verification.server.servers import Server


def lacked_by_server(server: Server, release: str, said: str) -> str | None:
    """Say what a *server* that failed with *said* lacks for a model, if the *release* of the archive has it.

    None: its failure is for another reason, or its release is not known.
    """
    if server.release is None:
        return None
    try:
        archive = find_release(release)
    except RecipeError:  # another tool's archive says none
        return None
    for name in find_release(server.release).lacks:
        if name not in archive.lacks and _is_named(name, said):
            return (
                f"{server.describe()} lacks {name}, which Triton has since release {came_with(name)}; {release}, which "
                "the archive is for, has it: test on a server of that release"
            )
    return None


def _is_named(name: str, said: str) -> bool:
    """Say whether an error of a stub, as pybind11 words it, is about *name*."""
    owner, _, attribute = name.partition(".")
    method, _, argument = attribute.partition("(")
    if not argument:
        return f"no attribute '{attribute or name}'" in said or f"cannot import name '{name}'" in said
    shown = owner if method == "__init__" else method
    arguments = rf"{shown}\(.*incompatible|incompatible .*\b{shown}\("
    return bool(re.search(arguments, said, re.DOTALL)) and f"{argument.rstrip(')')}=" in said
