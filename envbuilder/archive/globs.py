"""Globs of paths, matched in time linear in path and pattern, regardless of the number of stars."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

_TOKEN: Final = re.compile(r"\*\*/|\*\*|.", re.DOTALL)
_REGEX: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_WITHIN_ONE: Final = {("**", "*"), ("**", "**"), ("**", "**/"), ("**/", "**/")}
"""Pairs of tokens in which the first matches everything that both match."""


class Globs:
    """Patterns in order: ``*`` and ``?`` match within a folder, ``**`` crosses folders.

    A backtracking regular expression takes exponential time in the number of stars. It is used, because it is fast,
    for patterns where this cannot happen; the rest are matched by an automaton whose states are bits of an integer.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        tokens = list(map(_tokens, self._patterns))
        few = {number for number, own in enumerate(tokens) if _has_few_stars(own)}
        groups = (f"(?P<p{number}>{_regex(tokens[number])})" for number in sorted(few))
        # A file name may contain a newline.
        self._regex = re.compile("|".join(groups), re.DOTALL) if few else None
        many = {number: own for number, own in enumerate(tokens) if number not in few}
        self._automaton = _Automaton(many) if many else None

    def first_match(self, path: str) -> str | None:
        """Return the first pattern that matches the whole of *path*, or None."""
        found = []
        match = self._regex.fullmatch(path) if self._regex is not None else None
        if match is not None and match.lastgroup is not None:
            found.append(int(match.lastgroup[1:]))
        if self._automaton is not None and (number := self._automaton.first_match(path)) is not None:
            found.append(number)
        return self._patterns[min(found)] if found else None


@functools.lru_cache(maxsize=64)
def globs(patterns: tuple[str, ...]) -> Globs:
    """Return the matcher for *patterns*; cached."""
    return Globs(patterns)


class _Automaton:
    """All patterns at once: one bit for each token that may come next, and one for each end."""

    def __init__(self, patterns: dict[int, list[str]]) -> None:
        self._literal: dict[str, int] = {}
        self._one = self._within = self._across = self._empty = self._skipped = self._begin = 0
        self._ends: dict[int, int] = {}
        bit = 1
        for number, tokens in patterns.items():
            self._begin |= bit
            for token in tokens:
                bit = self._add(token, bit)
            self._ends[bit] = number
            bit <<= 1
        self._end = functools.reduce(int.__or__, self._ends, 0)

    def _add(self, token: str, bit: int) -> int:
        """Add *token* at *bit*; return the next bit."""
        if token == "**/":  # the empty string or anything that ends in a slash, which takes a second bit
            self._skipped |= bit
            self._empty |= bit
            bit <<= 1
            self._across |= bit
            self._literal["/"] = self._literal.get("/", 0) | bit
        elif token in ("*", "**"):
            self._empty |= bit
            self._within |= bit
            self._across |= bit if token == "**" else 0
        elif token == "?":
            self._one |= bit
        else:
            self._literal[token] = self._literal.get(token, 0) | bit
        return bit << 1

    def first_match(self, path: str) -> int | None:
        """Return the number of the first pattern that matches, or None."""
        state = self._without(self._begin)
        for character in path:
            taken = self._literal.get(character, 0)
            if character == "/":
                stays = self._across
            else:
                taken, stays = taken | self._one, self._across | self._within
            state = self._without((state & taken) << 1 | state & stays)
            if not state:
                return None
        reached = state & self._end
        return self._ends[reached & -reached] if reached else None

    def _without(self, state: int) -> int:
        """Add the states reached when a star matches nothing."""
        state |= (state & self._skipped) << 2
        return state | (state & self._empty) << 1


def _tokens(pattern: str) -> list[str]:
    found: list[str] = []
    for token in _TOKEN.findall(pattern):
        if found and (found[-1], token) in _WITHIN_ONE:
            continue
        if token == "**" and found and found[-1] == "**/":
            found.pop()
        found.append(token)
    return found


def _has_few_stars(tokens: list[str]) -> bool:
    """Whether a regular expression runs in linear time: it can backtrack over one star, or one per folder."""
    ends = [
        token
        for token, following in zip(tokens, [*tokens, ""][1:], strict=True)
        # A star at the end matches all, and one before a slash ends there.
        if token in ("*", "**", "**/") and not (following == "" or (token == "*" and following == "/"))
    ]
    return ends.count("**/") <= 1 and ends.count("*") <= 1 and ("**" not in ends or len(ends) == 1)


def _regex(tokens: list[str]) -> str:
    return "".join(_REGEX.get(token) or re.escape(token) for token in tokens)
