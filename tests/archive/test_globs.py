"""Globs mean what they say, and take no longer for many stars."""

from __future__ import annotations

import fnmatch
import re
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.archive.globs import Globs, globs


def _matches(pattern: str, path: str) -> bool:
    return Globs((pattern,)).first_match(path) is not None


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "b/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "b/c/a.py", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/xb", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a.c", "abc", False),
        ("[x]", "[x]", True),
        ("a**", "a/b\nc", True),
        ("", "", True),
        ("**/", "", True),
        ("**/*a*b?**/c", "x/y/1a2b34/5/c", True),
        ("**/*a*b?**/c", "x/y/1a2/b34/5/c", False),
        ("*a*b*/**/c*d*", "1a2b3/c4d5", True),
        ("*a*b*/**/c*d*", "1a2b3/x/y/c4d5", True),
        ("*a*b*/**/c*d*", "1a2b3/xc4d5", False),
    ],
)
def test_globs(pattern: str, path: str, matches: bool) -> None:
    assert _matches(pattern, path) == matches


def test_the_first_pattern_is_named_whichever_way_it_is_matched() -> None:
    found = Globs(("*a*b*c*", "a*", "**/*a**b*", "*"))
    assert found.first_match("xaxbxc") == "*a*b*c*"
    assert found.first_match("axb") == "a*"
    assert found.first_match("x/axb") == "**/*a**b*"
    assert found.first_match("x") == "*"
    assert found.first_match("x/y") is None
    assert Globs(()).first_match("x") is None
    assert globs(("a*",)) is globs(("a*",))


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 30 + "b",
        "**a" * 30 + "b",
        "**/a" * 30 + "b",
        "**/*a" * 30 + "b",
        "*" * 3999,
        "?*" * 1900 + "b",
        "**/" * 1000 + "b",
        "**a*b",
        "a?" * 1000 + "*a*a*c",
        "".join(f"{{a}}{n}*" for n in range(500)),
    ],
)
@pytest.mark.parametrize("path", ["a" * 4096, "a/" * 2048, "/" * 4096, "aa/" * 1300])
def test_many_stars_take_no_longer(pattern: str, path: str) -> None:
    matcher = Globs((pattern, f"x{pattern}"))
    began = monotonic()
    matcher.first_match(path)
    matcher.first_match(f"{path}c")
    assert monotonic() - began < 2


def _meaning(pattern: str) -> str:
    """Return the regular expression that a glob is, star by star."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        parts.get(part) or re.escape(part) for part in re.findall(r"\*\*/|\*\*|.", pattern, re.DOTALL)
    )


_PATTERN = st.lists(st.sampled_from(["*", "**", "**/", "/", "?", "a", "b", ".", "\n"]), max_size=9).map(
    "".join
)
_PATH = st.text(st.sampled_from("ab./\n"), max_size=12)


@given(patterns=st.lists(_PATTERN, max_size=4), path=_PATH)
def test_a_glob_is_its_regular_expression(patterns: list[str], path: str) -> None:
    meant = next((one for one in patterns if re.fullmatch(_meaning(one), path, re.DOTALL)), None)
    assert Globs(patterns).first_match(path) == meant


@given(
    pattern=st.text(st.sampled_from("ab./*?[]\n"), max_size=8),
    path=st.text(st.sampled_from("ab.[]\n"), max_size=8),
)
def test_within_a_folder_a_glob_is_fnmatch(pattern: str, path: str) -> None:
    plain = pattern.replace("**", "*").replace("/", "").replace("[", "x")
    while "**" in plain:
        plain = plain.replace("**", "*")
    assert _matches(plain, path) == fnmatch.fnmatchcase(path, plain)


@given(path=st.text(max_size=20))
def test_a_path_without_wildcards_matches_itself_alone(path: str) -> None:
    pattern = path.replace("*", "").replace("?", "")
    assert _matches(pattern, pattern)
    assert not _matches(pattern, pattern + "x")
