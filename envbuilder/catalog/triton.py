"""What each Triton release requires of an execution environment, and what its Python backend lacks.

Release numbers appear in no other package than :mod:`envbuilder.catalog`.

Sources: the Python backend's and the core's source on each release branch (``stub_launcher.cc``,
``pb_env.cc``, ``pb_stub.cc``), the support matrix of the NGC images, and measurements on the server of the
``nvidia-pytriton`` 0.7.0 wheel.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

from envbuilder.catalog.python_backend import FIRST_RELEASE, PYTRITON, lacked_by
from envbuilder.errors import RecipeError

Launch = Literal["sourced", "direct"]
Extraction = Literal["plain", "secure"]

__all__ = [
    "FIRST_RELEASE",
    "PYTRITON",
    "Extraction",
    "Launch",
    "Release",
    "find_release",
    "first_gcc",
    "release_ranges",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A Triton release, and what it requires of an environment."""

    name: str
    """``YY.MM``, or ``pytriton-0.7.0``."""
    pythons: tuple[str, ...]
    """Minor versions (``3.12``) for which the release has a stub."""
    glibc: str | None
    """glibc of the release's image; None where the server runs on the host's own system."""
    glibcxx: str
    """Highest ``GLIBCXX_`` symbol version of the libstdc++ in the image (of a host: what the stub asks)."""
    stub_glibcxx: str
    """Highest ``GLIBCXX_`` symbol version that the stub itself asks: the floor for a bundled libstdc++."""
    launch: Launch
    """``sourced``: through ``bin/activate``, in bash. ``direct``: ``bin/activate`` exists and is never run."""
    extraction: Extraction
    """``secure`` also refuses ``..``, absolute names, and members written through a symlinked directory."""
    demands: tuple[str, ...]
    """PEP 508 requirements that go into every environment for this release."""

    @property
    def wheel_glibc(self) -> str:
        """The glibc that wheels may require: the image's, or the minimum of the host's server itself (2.34)."""
        return self.glibc or "2.34"

    @property
    def lacks(self) -> tuple[str, ...]:
        """Names of :mod:`envbuilder.catalog.python_backend` that only later releases have."""
        return lacked_by(self.name)

    def conda_requirements(self, python: str) -> tuple[str, ...]:
        """Match specs of conda packages that go into every base for this release with Python *python*."""
        return (f"python {python}.*", f"libstdcxx >={first_gcc(self.stub_glibcxx)}")


_GCC = {"3.4.30": "12.1", "3.4.31": "13.1", "3.4.32": "13.2", "3.4.33": "14.1", "3.4.34": "15.1"}
"""``GLIBCXX_`` version → the first GCC whose libstdc++ has it (libstdc++'s "ABI Policy and Guidelines")."""


def first_gcc(glibcxx: str) -> str | None:
    """Return the first GCC whose libstdc++ has the symbol version *glibcxx* (``3.4.30``): conda's ``libstdcxx`` has
    GCC's version. None: not known.
    """
    return next((gcc for version, gcc in _GCC.items() if Version(version) >= Version(glibcxx)), None)


def _row(name: str) -> Release:
    numpy_1 = ("numpy<2",)  # stubs up to 24.10: pybind11 before NumPy 2, which answers with empty tensors
    if name == PYTRITON:
        return Release(
            name=name,
            pythons=("3.8", "3.9", "3.10", "3.11", "3.12"),
            glibc=None,
            glibcxx="3.4.30",
            stub_glibcxx="3.4.30",
            launch="sourced",
            extraction="plain",
            demands=numpy_1,
        )
    if name <= "24.10":
        return Release(
            name=name,
            pythons=("3.10",),
            glibc="2.35",
            glibcxx="3.4.30",
            stub_glibcxx="3.4.30",
            launch="sourced",
            extraction="plain",
            demands=numpy_1,
        )
    return Release(
        name=name,
        pythons=("3.12",),
        glibc="2.39",
        glibcxx="3.4.33",
        stub_glibcxx="3.4.32",
        launch="sourced" if name <= "25.07" else "direct",
        extraction="plain" if name <= "26.05" else "secure",
        demands=("numpy",),
    )


def release_ranges() -> tuple[tuple[str, Release], ...]:
    """Return ranges of releases with equal requirements, oldest first: a title and the newest release examined."""
    return (
        (PYTRITON, _row(PYTRITON)),
        (f"{FIRST_RELEASE} \N{EN DASH} 24.10", _row("24.10")),
        ("24.11 \N{EN DASH} 25.07", _row("25.07")),
        ("25.08 \N{EN DASH} 26.05", _row("26.05")),
        ("26.06 and later", _row("26.06")),
    )


def find_release(name: str) -> Release:
    """Return the facts of the release called *name*.

    Later releases are assumed to be like the newest known one.

    Raises:
        RecipeError: no such release; the message names the nearest ones.
    """
    if name == PYTRITON:
        return _row(name)
    if re.fullmatch(r"\d\d\.(0[1-9]|1[0-2])", name) and name >= FIRST_RELEASE:
        return _row(name)
    examples = [PYTRITON, "23.08", "24.10", "24.11", "25.06", "25.08", "26.06"]
    near = difflib.get_close_matches(name, examples, n=3, cutoff=0.4) or [PYTRITON, "25.06", "26.06"]
    raise RecipeError(
        f"unknown Triton release {name!r}; expected YY.MM from {FIRST_RELEASE} on, or {PYTRITON}",
        hint=f"nearest: {', '.join(near)}",
    )
