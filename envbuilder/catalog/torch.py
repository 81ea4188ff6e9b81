"""Which torch was built for which CUDA and which Python: the table in ``torch.toml``."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchBuild:
    """One version of torch, and the builds of it that exist."""

    version: str
    cuda: tuple[str, ...]
    """CUDA variants on PyTorch's index, oldest first; a CPU build always exists too."""
    pypi: str
    """CUDA of the package index's own build, ``13.0``."""
    pythons: tuple[str, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """Every valid value of ``cuda:`` for this version."""
        return ("cpu", *self.cuda, "pypi")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a combination is impossible."""

    key: str
    """The key of the recipe that is wrong: ``torch``, ``cuda`` or ``python``."""
    message: str
    hint: str


@functools.cache
def table() -> tuple[TorchBuild, ...]:
    """Return every known version of torch, oldest first."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    series: list[dict[str, Any]] = tomllib.loads(text)["series"]
    builds = [
        TorchBuild(
            version=version,
            cuda=tuple(entry["cuda"]),
            pypi=entry["pypi"],
            pythons=tuple(entry["pythons"]),
        )
        for entry in series
        for version in entry["versions"]
    ]
    return tuple(sorted(builds, key=lambda build: Version(build.version)))


def find_build(torch: str) -> TorchBuild | None:
    """Return the entry for *torch*, or None if the table does not contain it."""
    return next((build for build in table() if Version(build.version) == Version(torch)), None)


def is_newer_than_table(torch: str) -> bool:
    """Return whether *torch* is newer than the table, so that nothing is known about it."""
    return Version(torch) > Version(table()[-1].version)


def find_problem(torch: str, cuda: str, python: str) -> Problem | None:
    """Return why no build of *torch* for *cuda* and *python* exists; None if one exists, or nothing is known."""
    if is_newer_than_table(torch):
        return None
    build = find_build(torch)
    if build is None:
        oldest = table()[0].version
        old = Version(torch) < Version(oldest)
        message = (
            f"torch {torch} is older than {oldest}, the first with torch.compile"
            if old
            else f"there is no torch {torch}"
        )
        return Problem(key="torch", message=message, hint=f"nearest: {', '.join(_nearest(torch))}")
    if cuda not in build.variants:
        return Problem(
            key="cuda",
            message=f"torch {torch} was never built for {cuda} (it was for {', '.join(build.variants)})",
            hint=f"nearest: {_nearest_pairs(build, cuda)}",
        )
    if python not in build.pythons:
        known = [other for other in table() if python in other.pythons and cuda in other.variants]
        near = sorted(known, key=lambda other: _distance(other.version, torch))[:1]
        pairs = [f"torch {other.version} for Python {python}" for other in near]
        return Problem(
            key="torch",
            message=f"torch {torch} has no wheel for Python {python} (it has for {', '.join(build.pythons)})",
            hint=f"nearest: {', or '.join([*pairs, _nearest_python(build, torch, python)])}",
        )
    return None


def newest_python(torch: str, pythons: tuple[str, ...]) -> str:
    """Return the newest of *pythons* that *torch* has wheels for, or the newest if nothing is known."""
    build = find_build(torch)
    fitting = [python for python in pythons if build is None or python in build.pythons]
    return max(fitting or pythons, key=Version)


def _distance(one: str, other: str) -> tuple[int, int]:
    a, b = Version(one), Version(other)
    return abs((a.major - b.major) * 100 + a.minor - b.minor), abs(a.micro - b.micro)


def nearest(torch: str) -> str:
    """Return the known version that is closest to *torch*."""
    return _nearest(torch)[0]


def _nearest(torch: str) -> list[str]:
    return sorted((build.version for build in table()), key=lambda version: _distance(version, torch))[:3]


def _nearest_pairs(build: TorchBuild, cuda: str) -> str:
    number = int(cuda[2:]) if cuda.startswith("cu") and cuda[2:].isdigit() else 0
    variant = min(build.cuda, key=lambda name: abs(int(name[2:]) - number))
    pairs = [f"torch {build.version} with {variant}"]
    with_cuda = [other for other in table() if cuda in other.cuda]
    if with_cuda:
        other = min(with_cuda, key=lambda other: _distance(other.version, build.version))
        pairs.append(f"torch {other.version} with {cuda}")
    return ", or ".join(pairs)


def _nearest_python(build: TorchBuild, torch: str, python: str) -> str:
    def far(other: str) -> int:
        return abs(Version(other).minor - Version(python).minor)

    return f"torch {torch} for Python {min(build.pythons, key=far)}"


def torch_of(project: str, version: str) -> str | None:
    """Return the torch that *version* of torchvision or torchaudio was built for; None: it is not known.

    Source: torchvision's and torchaudio's tables of compatibility. torchvision 0.15 to 0.2x are torch 2.0 to 2.x with
    the same patch number, but for 0.15, which began at 1.
    """
    try:
        release = Version(version).release
    except InvalidVersion:
        return None
    if project == "torchaudio" and release[0] == 2:
        return ".".join(map(str, (*release, 0, 0)[:3]))
    if project != "torchvision" or len(release) < 2 or release[0] != 0 or release[1] < 15:
        return None
    patch = release[2] if len(release) > 2 else 0
    found = f"2.{release[1] - 15}.{max(0, patch - 1) if release[1] == 15 else patch}"
    return found if find_build(found) is not None else None


def torchvision_of(torch: str) -> str | None:
    """Return the version of torchvision that was built for the version *torch*; None if it is not known."""
    plain = Version(torch).base_version
    _, minor, patch = (*Version(plain).release, 0, 0)[:3]
    found = f"0.{minor + 15}.{patch + (minor == 0)}"
    return found if torch_of("torchvision", found) == plain else None
