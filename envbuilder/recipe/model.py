"""A recipe in memory."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuilder.catalog.triton import Release, find_release
from envbuilder.recipe.channels import channel_name


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """How the archive is written."""

    bytecode: bool = True
    level: int = 4
    """zlib level, 0 to 9."""
    uncompressed: bool = False
    """A plain tar instead of gzip."""
    exclude: tuple[str, ...] | None = None
    """Glob patterns of paths in the environment; None: the tool's default rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenceOptions:
    """The licence policy of the archive, see :class:`envbuilder.inventory.policy.Policy`."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditOptions:
    """The audit of the archive, see :func:`envbuilder.inventory.audit.audit`."""

    advisories: Path
    """Absolute after loading."""
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """Defaults of ``envbuilder verify``."""

    model: Path | None = None
    """A model directory (absolute after loading); None: the tool's own sample model."""
    compile: Mapping[str, Any] = field(default_factory=dict)
    """``torch.compile`` options of the sample model."""
    server: bool = True
    inputs: Path | None = None
    """Inputs of the model: an ``.npz``, or the JSON of ``perf_analyzer --input-data``. Absolute after loading."""
    expected: Path | None = None
    """Expected outputs, in the same formats. Absolute after loading."""
    tolerance: Mapping[str, float] | None = None
    """``rtol`` and ``atol`` for those; None: the defaults."""
    sbom: bool = False
    licences: LicenceOptions | None = None
    audit: AuditOptions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A validated recipe: every value has its type and every combination is possible."""

    name: str
    """The stem of the file."""
    path: Path
    triton: str
    torch: str
    cuda: str
    """``cpu``, ``cuXYZ``, or ``pypi`` (the package index's own build)."""
    python: str
    """Minor version, ``3.12``; by default the release's, if it supports only one."""
    dependencies: tuple[str, ...] = ()
    """PEP 508, as written; local wheels are absolute ``file:`` references after loading."""
    constraints: tuple[str, ...] = ()
    """PEP 508, as written: they limit versions, but install nothing."""
    prereleases: bool = False
    """Whether pre-releases of every package are allowed."""
    build_from_source: tuple[str, ...] = ()
    """Normalized names of projects that may be built from an sdist."""
    exclude_dependencies: tuple[str, ...] = ()
    """Normalized names of projects that are not installed, whichever package requires them."""
    provider: str = "cpython"
    channels: tuple[str, ...] = ()
    """Conda channels, as written; folders are ``file:`` addresses after loading."""
    conda: tuple[str, ...] = ()
    """Match specs."""
    link_scripts: tuple[str, ...] = ()
    """Conda packages whose post-link script may be run."""
    anaconda_terms: bool = False
    """Whether Anaconda's own channels may be used."""
    compiler: str = "none"
    system_libraries: tuple[str, ...] = ()
    """Sonames that the server's image has in addition to the release's own. Sorted."""
    exclude_newer: datetime.date | None = None
    pack: PackOptions = field(default_factory=PackOptions)
    verify: VerifyOptions = field(default_factory=VerifyOptions)

    @property
    def release(self) -> Release:
        """The facts of the Triton release."""
        return find_release(self.triton)

    @property
    def torch_version(self) -> str:
        """The installed version of torch with its local part: ``2.13.0+cpu``; without it for ``pypi``."""
        return self.torch if self.cuda == "pypi" else f"{self.torch}+{self.cuda}"

    @property
    def lock_command(self) -> str:
        """The command that locks it."""
        matrix = self.name != self.path.stem
        return f"envbuilder lock --matrix {self.path.stem}" if matrix else f"envbuilder lock {self.name}"

    def digest(self) -> str:
        """Return the sha256 of everything that a lock or an archive depends on.

        That is not ``verify``, comments, or the folder. The release's requirements are included, so that a lock
        becomes stale when this tool's data on a release changes.
        """
        canonical: dict[str, Any] = {
            "triton": self.triton,
            "torch": self.torch,
            "cuda": self.cuda,
            "python": self.python,
            "dependencies": sorted(_canonical(dependency) for dependency in self.dependencies),
            "provider": self.provider,
            "compiler": self.compiler,
            "exclude-newer": self.exclude_newer.isoformat() if self.exclude_newer else None,
            "pack": dataclasses.asdict(self.pack),
            "demands": sorted(self.release.demands),
        }
        if self.system_libraries:
            canonical["system-libraries"] = sorted(self.system_libraries)
        # Unset keys do not change the digest, so that new keys leave old digests valid.
        canonical |= {"constraints": sorted(self.constraints)} if self.constraints else {}
        canonical |= {"prereleases": True} if self.prereleases else {}
        canonical |= {"build-from-source": sorted(self.build_from_source)} if self.build_from_source else {}
        excluded = sorted(self.exclude_dependencies)
        canonical |= {"exclude-dependencies": excluded} if excluded else {}
        if self.provider == "conda":
            canonical |= {
                "channels": [channel_name(channel) for channel in self.channels],
                "conda": sorted(self.conda),
                "link-scripts": sorted(self.link_scripts),
                "base": sorted(self.release.conda_requirements(self.python)),
            }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _canonical(dependency: str) -> str:
    """Return *dependency* without the folder of a local wheel."""
    requirement = Requirement(dependency)
    requirement.name = canonicalize_name(requirement.name)
    if requirement.url is not None and requirement.url.startswith("file:"):
        requirement.url = requirement.url.rsplit("/", 1)[-1]
    return str(requirement)
