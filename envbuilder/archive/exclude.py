"""What is left out of an archive, and why: files that can never be used when serving.

Everything that ``torch.compile`` needs stays: headers, ``Python.h``, the shared libraries it links.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from envbuilder.archive.tar import COMPRESSOR

RULES_VERSION = 5
"""Part of the key of every segment: count it up when the same artifact would give other bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One default exclusion. What packages import while they are imported stays all the same, see :mod:`.kept`."""

    name: str
    patterns: tuple[str, ...]
    """Globs of paths in the environment; ``**`` crosses folders."""
    reason: str


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(name="static libraries", patterns=("**/*.a",), reason="nothing links statically when serving"),
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
        reason="needs a screen or a student",
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
        reason="bytecode that came in a wheel may be of another Python; ours is compiled anew",
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
"""The same where a compiler is in the environment: every link takes static parts of libgcc and of its C library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRules:
    """Everything besides an artifact's own bytes and the Python that a segment depends on."""

    bytecode: bool = True
    level: int = 4
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE

    def key(self) -> str:
        """Return the part of a segment's key that these rules are."""
        return repr((RULES_VERSION, COMPRESSOR, self.bytecode, self.level, self.exclude))

    def excluded_by(self, path: str) -> str | None:
        """Return the pattern that leaves *path* out, or None."""
        return _first_match(self.exclude, path)

    @property
    def yielding(self) -> tuple[str, ...]:
        """The patterns that leave out what nothing imports: the default rules'. What a recipe names, it means."""
        return tuple(pattern for pattern in self.exclude if pattern in DEFAULT_EXCLUDE)

    def yields(self, path: str) -> bool:
        """Say whether *path* is left out by default rules alone."""
        own = tuple(pattern for pattern in self.exclude if pattern not in DEFAULT_EXCLUDE)
        return _first_match(self.yielding, path) is not None and _first_match(own, path) is None


def rule_of(pattern: str) -> str:
    """Return the name of the default rule that *pattern* belongs to, or the pattern itself."""
    pattern = "**/*.a" if pattern in _UNLINKED else pattern
    return next((rule.name for rule in DEFAULT_RULES if pattern in rule.patterns), pattern)


def _first_match(patterns: tuple[str, ...], path: str) -> str | None:
    match = _matcher(patterns)(path) if patterns else None
    return patterns[int(match.lastgroup[1:])] if match is not None and match.lastgroup else None


@functools.lru_cache(maxsize=64)
def _matcher(patterns: Sequence[str]) -> Callable[[str], re.Match[str] | None]:
    groups = (f"(?P<p{number}>{glob_regex(pattern)})" for number, pattern in enumerate(patterns))
    return re.compile("|".join(groups), re.DOTALL).fullmatch  # a file name may hold a newline


def glob_regex(pattern: str) -> str:
    """Translate a glob: ``*`` and ``?`` stay within a folder, ``**`` crosses folders."""
    out = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            out.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            out.append(".*")
            position += 2
        elif pattern[position] == "*":
            out.append("[^/]*")
            position += 1
        elif pattern[position] == "?":
            out.append("[^/]")
            position += 1
        else:
            out.append(re.escape(pattern[position]))
            position += 1
    return "".join(out)
