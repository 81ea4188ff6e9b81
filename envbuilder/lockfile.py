"""A lock: ``pylock.<recipe>.toml`` (PEP 751), with ``[tool.envbuilder]``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A wheel, known by its bytes."""

    name: str
    """Normalized project name."""
    version: str
    filename: str
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedInterpreter:
    """The interpreter that the lock was made with: an artifact like any other."""

    version: str
    """``3.11.7``."""
    origin: str
    """``host``, or ``uv:<build>``."""
    digest: str
    """sha256 over the files that make it up, see :func:`envbuilder.resolve.interpreter.interpreter_digest`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """Everything an archive is made of, by hash. Names no place: neither URL, host nor absolute path."""

    recipe: str
    recipe_digest: str
    """sha256 of the recipe's canonical form and of the release's demands."""
    release: str
    python: str
    torch: str
    """The version with its local part, as installed: ``2.13.0+cpu``."""
    cuda: str
    demands: tuple[str, ...]
    """What the release asked for, beyond the recipe's own dependencies."""
    artifacts: tuple[Artifact, ...]
    """Sorted by name."""
    interpreter: LockedInterpreter
    tools: tuple[tuple[str, str], ...]
    """Name and version of each solver."""
