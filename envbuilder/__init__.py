"""Locked, reproducible, verified Python environments for PyTorch models behind Triton's Python backend.

The verbs of the command line are functions here, the nouns are classes::

    from envbuilder import DeployOptions, build, deploy, load_recipe, lock, verify

    recipe = load_recipe("recipes/cpu.yaml")
    lock(recipe)
    archive = build(recipe).archive
    assert verify(archive).passed
    deploy(archive, "models/resnet", "repository", DeployOptions(layout="shared"))

Each is imported when it is first asked for: ``import envbuilder`` costs nothing. What is not in ``__all__`` may change
in any release.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from envbuilder.util.version import VERSION as __version__

if TYPE_CHECKING:
    from envbuilder.api import (
        alias,
        attest,
        audit,
        bench_start,
        build,
        build_many,
        compile_model,
        deploy,
        diff,
        doctor,
        import_recipe,
        init,
        licences,
        load_recipe,
        load_recipes,
        lock,
        plot_sizes,
        plot_starts,
        pull,
        push,
        quickstart,
        sbom,
        size,
        verify,
    )
    from envbuilder.archive.names import Archive
    from envbuilder.deployment.options import DeployOptions
    from envbuilder.errors import EnvbuilderError
    from envbuilder.fleet.build_many import FleetOptions
    from envbuilder.lockfile.model import Lock
    from envbuilder.recipe.model import Recipe
    from envbuilder.store.session import Session
    from envbuilder.verification.report import Report

__all__ = [
    "Archive",
    "DeployOptions",
    "EnvbuilderError",
    "FleetOptions",
    "Lock",
    "Recipe",
    "Report",
    "Session",
    "__version__",
    "alias",
    "attest",
    "audit",
    "bench_start",
    "build",
    "build_many",
    "compile_model",
    "deploy",
    "diff",
    "doctor",
    "import_recipe",
    "init",
    "licences",
    "load_recipe",
    "load_recipes",
    "lock",
    "plot_sizes",
    "plot_starts",
    "pull",
    "push",
    "quickstart",
    "sbom",
    "size",
    "verify",
]

_NOUNS: Final = {
    "Archive": "envbuilder.archive.names",
    "DeployOptions": "envbuilder.deployment.options",
    "EnvbuilderError": "envbuilder.errors",
    "FleetOptions": "envbuilder.fleet.build_many",
    "Lock": "envbuilder.lockfile.model",
    "Recipe": "envbuilder.recipe.model",
    "Report": "envbuilder.verification.report",
    "Session": "envbuilder.store.session",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_NOUNS.get(name, "envbuilder.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
