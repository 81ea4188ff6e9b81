"""A lock in memory: artifacts, conda packages, the interpreter, and what they were resolved for."""

from __future__ import annotations

from dataclasses import dataclass

WHEELHOUSE = "wheelhouse"
"""The folder beside a lock that ``envbuilder lock --fetch`` fills."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A wheel or a conda package, known by its bytes."""

    name: str
    """Normalized project name, or the name of a conda package."""
    version: str
    filename: str
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaPackage(Artifact):
    """A conda package."""

    build: str
    """The build string."""
    channel: str
    """The name of its channel, see :func:`envbuilder.recipe.channels.channel_name`."""
    subdir: str
    """``linux-64`` or ``noarch``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedConda:
    """The conda packages of a base."""

    packages: tuple[CondaPackage, ...]
    """In installation order: each after its dependencies."""
    provides: tuple[tuple[str, str], ...]
    """Name and version of each Python project in them, for which no wheel is installed. Sorted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedInterpreter:
    """The interpreter that the lock was made with: an artifact like any other."""

    version: str
    """``3.11.7``."""
    origin: str
    """``host`` or ``uv:<build>`` for a CPython; otherwise the provider's name and its own text: ``conda:<file
    name>``."""
    digest: str
    """sha256 over its files, see :func:`envbuilder.base.interpreter.interpreter_digest`; of a conda
    package its own sha256."""

    @property
    def provider(self) -> str:
        """The name of the provider whose interpreter it is."""
        name, colon, _ = self.origin.partition(":")
        return name if colon and name != "uv" else "cpython"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A lock: it pins everything in an archive by sha256, and contains no URL, host or absolute path."""

    recipe: str
    recipe_digest: str
    """sha256 of the recipe's canonical form and of the release's requirements."""
    release: str
    python: str
    torch: str
    """The version with its local part, as installed: ``2.13.0+cpu``."""
    cuda: str
    demands: tuple[str, ...]
    """The release's requirements, in addition to the recipe's dependencies."""
    artifacts: tuple[Artifact, ...]
    """Sorted by name."""
    interpreter: LockedInterpreter
    tools: tuple[tuple[str, str], ...]
    """Name and version of each solver."""
    built: tuple[tuple[str, str], ...] = ()
    """Packages without a wheel, and the source of the built one: ``sdist:<sha256>``,
    ``folder:<sha256 of its files>`` or ``git:<commit>:<hash of the reference>``."""
    conda: LockedConda | None = None
    """None: the base is a relocated CPython."""

    @property
    def all_artifacts(self) -> tuple[Artifact, ...]:
        """Conda packages, then wheels."""
        return (*(self.conda.packages if self.conda is not None else ()), *self.artifacts)
