"""The target of wheels: the recipe's Python on the release's system, whatever this machine is."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.markers import Environment
from packaging.pylock import Package, PackageWheel
from packaging.tags import Tag, compatible_tags, cpython_tags, create_compatible_tags_selector
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

# PEP 600: the older names of manylinux platforms, by the minor version of their glibc.
_LEGACY = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """CPython on x86-64 Linux."""

    python: str
    """In full, ``3.11.7``: markers may ask for the patch version."""
    glibc: str
    """The newest glibc that a wheel may ask for, ``2.34``."""

    @property
    def minor(self) -> str:
        """``3.11``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def uv_platform(self) -> str:
        """uv's name of the platform."""
        return f"x86_64-manylinux_{self.glibc.replace('.', '_')}"

    def tags(self) -> tuple[Tag, ...]:
        """Return the tags of wheels that fit, best first."""
        return _tags(self.minor, self.glibc)

    def markers(self) -> Environment:
        """Return the values of environment markers."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python,
            "platform_python_implementation": "CPython",
            "python_version": self.minor,
            "sys_platform": "linux",
        }

    def best_wheel(self, package: Package) -> PackageWheel | None:
        """Return the wheel of *package* that an installer takes there; None: it has none that fits."""
        wheels = [(wheel, parse_wheel_filename(wheel.filename)[3]) for wheel in package.wheels or ()]
        return next(iter(create_compatible_tags_selector(self.tags())(wheels)), None)

    def fits(self, filename: str) -> bool:
        """Say whether the wheel called *filename* can be installed there."""
        try:
            return not parse_wheel_filename(filename)[3].isdisjoint(self.tags())
        except InvalidWheelFilename:
            return False


@functools.lru_cache(maxsize=16)
def _tags(minor: str, glibc: str) -> tuple[Tag, ...]:
    version = tuple(int(part) for part in minor.split("."))
    interpreter = f"cp{version[0]}{version[1]}"
    platforms = list(_platforms(int(glibc.split(".")[1])))
    return (
        *cpython_tags(version, abis=[interpreter], platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    )


def _platforms(glibc_minor: int) -> Iterator[str]:
    for minor in range(glibc_minor, 4, -1):
        yield f"manylinux_2_{minor}_x86_64"
        if minor in _LEGACY:
            yield _LEGACY[minor]
    yield "linux_x86_64"  # what torch up to 2.6 calls itself on PyTorch's own index
