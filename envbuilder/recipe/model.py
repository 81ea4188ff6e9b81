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
    """zlib level 0 to 9 of what is compressed by us."""
    uncompressed: bool = False
    """A plain tar instead of gzip."""
    exclude: tuple[str, ...] | None = None
    """Glob patterns of paths in the environment; None: the tool's default rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenceOptions:
    """Which licences may be in the archive, see :class:`envbuilder.inventory.policy.Policy`."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditOptions:
    """What the archive is held against, see :func:`envbuilder.inventory.audit.audit`."""

    advisories: Path
    """Absolute after loading."""
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyOptions:
    """What ``envbuilder verify`` loads."""

    model: Path | None = None
    """A model directory (absolute after loading); None: the tool's own sample model."""
    compile: Mapping[str, Any] = field(default_factory=dict)
    """``torch.compile`` options of the sample model."""
    server: bool = True
    inputs: Path | None = None
    """What the model is asked: an ``.npz``, or the JSON of ``perf_analyzer --input-data``. Absolute after loading."""
    expected: Path | None = None
    """What it answers to that, in the same forms. Absolute after loading."""
    tolerance: Mapping[str, float] | None = None
    """``rtol`` and ``atol`` for that; None: the usual ones."""
    sbom: bool = False
    licences: LicenceOptions | None = None
    audit: AuditOptions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One recipe, checked: every value is of its type and every pair is possible."""

    name: str
    """The stem of the file."""
    path: Path
    triton: str
    torch: str
    cuda: str
    """``cpu``, ``cuXYZ``, or ``pypi`` (the package index's own build)."""
    python: str
    """Minor version, ``3.12``; decided by the release where it leaves no choice."""
    dependencies: tuple[str, ...] = ()
    """PEP 508, as written; local wheels are absolute ``file:`` references after loading."""
    constraints: tuple[str, ...] = ()
    """PEP 508, as written: they limit what gets installed, and install nothing."""
    prereleases: bool = False
    """Pre-releases count as versions of every package."""
    build_from_source: tuple[str, ...] = ()
    """Projects, by normalized name, that may be built of an sdist."""
    provider: str = "cpython"
    channels: tuple[str, ...] = ()
    """Conda channels, as written; folders are ``file:`` addresses after loading."""
    conda: tuple[str, ...] = ()
    """Match specs."""
    link_scripts: tuple[str, ...] = ()
    """Conda packages whose post-link script may be run."""
    anaconda_terms: bool = False
    """Anaconda's own channels may be used."""
    compiler: str = "none"
    system_libraries: tuple[str, ...] = ()
    """Sonames that the server's image has besides what the release's own has. Sorted."""
    exclude_newer: datetime.date | None = None
    pack: PackOptions = field(default_factory=PackOptions)
    verify: VerifyOptions = field(default_factory=VerifyOptions)

    @property
    def release(self) -> Release:
        """The facts of the Triton release."""
        return find_release(self.triton)

    @property
    def torch_version(self) -> str:
        """The version of torch with its local part, as it is installed: ``2.13.0+cpu``; of ``pypi`` without."""
        return self.torch if self.cuda == "pypi" else f"{self.torch}+{self.cuda}"

    @property
    def lock_command(self) -> str:
        """What to type to lock it."""
        matrix = self.name != self.path.stem
        return f"envbuilder lock --matrix {self.path.stem}" if matrix else f"envbuilder lock {self.name}"

    def digest(self) -> str:
        """Return the sha256 of all that a lock or an archive depends on: not ``verify``, comments, or the folder.

        The release's demands are part of it, so that a lock goes stale when this tool learns more of a release.
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
        # What a recipe does not say leaves the digest as it was before the key existed.
        canonical |= {"constraints": sorted(self.constraints)} if self.constraints else {}
        canonical |= {"prereleases": True} if self.prereleases else {}
        canonical |= {"build-from-source": sorted(self.build_from_source)} if self.build_from_source else {}
        if self.provider == "conda":
            canonical |= {
                "channels": [channel_name(channel) for channel in self.channels],
                "conda": sorted(self.conda),
                "link-scripts": sorted(self.link_scripts),
                "base": sorted(self.release.conda_requirements(self.python)),
            }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _canonical(dependency: str) -> str:
    """Return *dependency* without the folder that a local wheel lies in."""
    requirement = Requirement(dependency)
    requirement.name = canonicalize_name(requirement.name)
    if requirement.url is not None and requirement.url.startswith("file:"):
        requirement.url = requirement.url.rsplit("/", 1)[-1]
    return str(requirement)
