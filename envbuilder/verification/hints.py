"""Hints for failed checks, one function per cause."""

from __future__ import annotations

from envbuilder.archive.exclude import DEFAULT_EXCLUDE
from envbuilder.catalog.system import remedy
from envbuilder.catalog.triton import Release

REBUILD = "build it again with `envbuilder build`"
MATCH_TORCHVISION = (
    "this torchvision was built for another torch: take both from PyTorch's index (or a mirror: pytorch-index), or "
    "both from the package index (cuda: pypi)"
)


def get_library(soname: str, project: str | None, host: bool) -> str:
    """Return how to provide the library *soname* that *project* needs, in the environment or the server's system.

    *host*: that system is the serving machine, not an image.
    """
    known = remedy(soname, project)
    ways = []
    if known.wheel is not None:
        ways.append(
            f"{known.wheel} instead of {project} in the recipe's dependencies does not need this library"
        )
    if known.debian is not None and host:
        ways.append(f"`apt-get install {known.debian}` on each machine that serves")
    elif known.debian is not None:
        ways.append(
            f"build your own image with Debian's {known.debian}, set `system-libraries: [{soname}]` in the recipe, "
            "then lock and build again"
        )
    else:
        ways.append(
            f"use a version of {project or 'the package'} whose wheel contains {soname}, or list it in the "
            f"recipe's `system-libraries`, if {'each machine that serves' if host else 'an image of your own'} has it"
        )
    return "; or ".join(ways)


def base_file_hint(as_built: bool | None, same_tool: bool) -> str:
    """Return the hint for a wrong file that the build copied or wrote itself.

    *as_built*: the build wrote it so (None: unknown); *same_tool*: this version of envbuilder built it.
    """
    if as_built is None:
        return "pack the environment with `envbuilder build`"
    if not as_built:
        return f"it changed after it was built: copy the archive again, or {REBUILD}"
    if not same_tool:
        return f"a different version of envbuilder built it: {REBUILD}"
    return (
        "this version of envbuilder built it: please report it; until then, lock again with another CPython"
    )


def keep_file(pattern: str) -> str:
    """Return how to keep a file that *pattern* excluded from an archive."""
    if pattern not in DEFAULT_EXCLUDE:
        return f"remove {pattern!r} from `pack: {{exclude: …}}` in the recipe, then lock and build again"
    kept = "`pack: {exclude: []}` in the recipe keeps everything"
    if "site-packages" in pattern:
        return f"{kept}; lock and build again"
    return f"{kept} that the CPython of the base has; lock and build again"


def fit_numpy(package: str, numpy: str, release: Release) -> str:
    """Return how to make *package* fit the NumPy of an environment for *release*."""
    if numpy.startswith("1."):
        bound = any(demand.startswith("numpy<2") for demand in release.demands)
        newer = "; or target release 24.11 or later, which supports NumPy 2" if bound else "; or numpy>=2"
        return f"lock again: the solver then avoids versions of {package} that are built for NumPy 2{newer}"
    return f"add a newer {package}, or `numpy<2`, to the recipe's dependencies; lock and build again"


def fit_glibc(package: str | None, path: str, image: str) -> str:
    """Return how to make the file *path* (of *package*; None: of the base) run with the glibc of an *image*."""
    if package is not None or "/site-packages/" in path:
        wheels = f"manylinux_{image.replace('.', '_')}"
        return f"use a version of {package or 'its package'} whose wheel is for {wheels} or older, or a newer release"
    return (
        "the base is this machine's own CPython: lock again with one that is built for older systems "
        "(`uv python install`), set `provider: conda`, or target a newer release"
    )
