"""The rules that exclude files from archives: files that are never used for serving.

Everything that ``torch.compile`` needs is kept: headers, ``Python.h``, and the shared libraries it links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from envbuilder.archive.globs import globs
from envbuilder.archive.tar import COMPRESSOR

RULES_VERSION = 5
"""Part of the key of every segment: increment it when the same artifact would be packed to different bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One default exclusion. Modules that packages need at import time are kept anyway, see :mod:`.kept`."""

    name: str
    patterns: tuple[str, ...]
    """Globs of paths in the environment; ``**`` crosses folders."""
    reason: str


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(name="static libraries", patterns=("**/*.a",), reason="serving links nothing statically"),
    Rule(
        name="interpreter's tests",
        patterns=("lib/python3.*/test/**", "lib/python3.*/*/test/**", "lib/python3.*/*/tests/**"),
        reason="CPython's own test suite",
    ),
    Rule(
        name="windows and teaching",
        patterns=(
            "lib/python3.*/tkinter/**",
            "lib/python3.*/turtle.py",
            "lib/python3.*/lib-dynload/_tkinter.*",
            "lib/python3.*/lib-dynload/_test*",
            "lib/python3.*/lib-dynload/xxlimited*",
            "lib/python3.*/idlelib/**",
            "lib/python3.*/turtledemo/**",
            "lib/python3.*/pydoc_data/**",
        ),
        reason="graphical or for teaching",
    ),
    Rule(
        name="installers",
        patterns=("lib/python3.*/ensurepip/**", "lib/python3.*/lib2to3/**", "lib/python3.*/config-3.*/**"),
        reason="nothing is installed into an archive",
    ),
    Rule(
        name="tests of packages",
        patterns=("lib/python3.*/site-packages/**/tests/**", "lib/python3.*/site-packages/torch/test/**"),
        reason="few packages import their own tests",
    ),
    Rule(
        name="foreign bytecode",
        patterns=("**/__pycache__/**", "**/*.pyo"),
        reason="bytecode in wheels may be for another Python; it is compiled again",
    ),
    Rule(
        name="build tools of torch",
        patterns=(
            "lib/python3.*/site-packages/torch/bin/protoc*",
            "lib/python3.*/site-packages/torch/bin/*test*",
            "lib/python3.*/site-packages/torch/bin/*Test*",
        ),
        reason="used when torch itself is built",
    ),
)

DEFAULT_EXCLUDE: tuple[str, ...] = tuple(pattern for rule in DEFAULT_RULES for pattern in rule.patterns)
_UNLINKED: Final = ("lib/*.a", "lib/python3.*/**/*.a")
LINKER_EXCLUDE: tuple[str, ...] = (
    *_UNLINKED,
    *(pattern for pattern in DEFAULT_EXCLUDE if pattern != "**/*.a"),
)
"""The rules for environments with a compiler: linking needs static parts of libgcc and of the C library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRules:
    """Everything that a segment depends on besides the artifact's bytes and the Python."""

    bytecode: bool = True
    level: int = 4
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE

    def key(self) -> str:
        """Return the contribution of these rules to a segment's key."""
        return repr((RULES_VERSION, COMPRESSOR, self.bytecode, self.level, self.exclude))

    def excluded_by(self, path: str) -> str | None:
        """Return the pattern that excludes *path*, or None."""
        return globs(self.exclude).first_match(path)

    @property
    def yielding(self) -> tuple[str, ...]:
        """The default rules' patterns, which spare imported modules; a recipe's own patterns always apply."""
        return tuple(pattern for pattern in self.exclude if pattern in DEFAULT_EXCLUDE)

    def yields(self, path: str) -> bool:
        """Return whether *path* is excluded by default rules only."""
        own = tuple(pattern for pattern in self.exclude if pattern not in DEFAULT_EXCLUDE)
        return globs(self.yielding).first_match(path) is not None and globs(own).first_match(path) is None


def rule_of(pattern: str) -> str:
    """Return the name of the default rule of *pattern*, or the pattern itself."""
    pattern = "**/*.a" if pattern in _UNLINKED else pattern
    return next((rule.name for rule in DEFAULT_RULES if pattern in rule.patterns), pattern)
