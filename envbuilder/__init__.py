"""Locked, reproducible, verified Python environments for PyTorch models behind Triton's Python backend.

The commands of the command line are functions here, and recipes, locks, archives and reports are classes::

    from envbuilder import DeployOptions, build, deploy, load_recipe, lock, verify

    recipe = load_recipe("recipes/cpu.yaml")
    lock(recipe)
    archive = build(recipe).archive
    assert verify(archive).passed
    deploy(archive, "models/resnet", "repository", DeployOptions(layout="shared"))

Each name is imported on first use, so ``import envbuilder`` is fast. Names that are not in ``__all__`` may change
in any release.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from envbuilder.util.version import VERSION as __version__

if TYPE_CHECKING:
    from envbuilder.api import (
        alias,
        apply,
        attest,
        audit,
        bench_start,
        build,
        build_many,
        compile_model,
        deploy,
        diff,
        doctor,
        image,
        import_recipe,
        init,
        licences,
        load_recipe,
        load_recipes,
        lock,
        patch,
        plot_sizes,
        plot_starts,
        pull,
        push,
        quickstart,
        report,
        sbom,
        size,
        status,
        verify,
    )
    from envbuilder.archive.names import Archive
    from envbuilder.deployment.options import DeployOptions
    from envbuilder.errors import EnvbuilderError
    from envbuilder.fleet.options import FleetOptions
    from envbuilder.fleet.patching.patch import PatchOptions
    from envbuilder.fleet.repository.apply import ApplyOptions
    from envbuilder.lockfile.model import Lock
    from envbuilder.recipe.model import Recipe
    from envbuilder.store.session import Session
    from envbuilder.verification.report import Report

__all__ = [
    "ApplyOptions",
    "Archive",
    "DeployOptions",
    "EnvbuilderError",
    "FleetOptions",
    "Lock",
    "PatchOptions",
    "Recipe",
    "Report",
    "Session",
    "__version__",
    "alias",
    "apply",
    "attest",
    "audit",
    "bench_start",
    "build",
    "build_many",
    "compile_model",
    "deploy",
    "diff",
    "doctor",
    "image",
    "import_recipe",
    "init",
    "licences",
    "load_recipe",
    "load_recipes",
    "lock",
    "patch",
    "plot_sizes",
    "plot_starts",
    "pull",
    "push",
    "quickstart",
    "report",
    "sbom",
    "size",
    "status",
    "verify",
]

_NOUNS: Final = {
    "ApplyOptions": "envbuilder.fleet.repository.apply",
    "Archive": "envbuilder.archive.names",
    "DeployOptions": "envbuilder.deployment.options",
    "EnvbuilderError": "envbuilder.errors",
    "FleetOptions": "envbuilder.fleet.options",
    "Lock": "envbuilder.lockfile.model",
    "PatchOptions": "envbuilder.fleet.patching.patch",
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
