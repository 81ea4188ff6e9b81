"""The commands of the command line as functions. They are names of the package, too: ``from envbuilder import build``.

In: recipes, archives, paths, and a :class:`~envbuilder.store.session.Session`: where artifacts come from, where they
are kept, who is told. Out: what each stage returns. Without a session a function works as the command line does: with
this machine's store, the configuration of the current directory, and no progress output. Each function imports its own
stage when it is called, so that ``size`` does not wait for what only ``verify`` needs. Prints nothing.
"""

from __future__ import annotations

from envbuilder.api.archives import attest, build, build_many, diff, verify
from envbuilder.api.contents import audit, licences, plot_sizes, report, sbom, size
from envbuilder.api.deployments import apply, compile_model, deploy, patch, status
from envbuilder.api.images import image
from envbuilder.api.machine import bench_start, doctor, plot_starts, quickstart
from envbuilder.api.recipes import import_recipe, init, load_recipe, load_recipes, lock
from envbuilder.api.stores import alias, pull, push

__all__ = [
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
