"""Hints: each a function of the cause. That following one cures it is shown where the cause is found."""

from __future__ import annotations

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.verification.hints import base_file_hint, fit_numpy, get_library, keep_file


@pytest.mark.parametrize(
    ("as_built", "same_tool", "text"),
    [
        (None, False, "pack the environment with `envbuilder build`"),
        (
            False,
            True,
            "it changed after it was built: copy the archive again, or build it again with `envbuilder build`",
        ),
        (True, False, "a different version of envbuilder built it: build it again with `envbuilder build`"),
        (
            True,
            True,
            "this version of envbuilder built it: please report it; until then, lock again with another CPython",
        ),
    ],
)
def test_building_again_is_said_where_it_helps(as_built: bool | None, same_tool: bool, text: str) -> None:
    assert base_file_hint(as_built, same_tool) == text


KEEP = "`pack: {exclude: []}` in the recipe keeps everything"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (
            "**/docs/**",
            "remove '**/docs/**' from `pack: {exclude: …}` in the recipe, then lock and build again",
        ),
        ("lib/python3.*/site-packages/**/tests/**", f"{KEEP}; lock and build again"),
        (
            "lib/python3.*/tkinter/**",
            f"{KEEP} that the CPython of the base has; lock and build again",
        ),
    ],
)
def test_what_keeps_a_file(pattern: str, text: str) -> None:
    assert keep_file(pattern) == text


def test_the_project_that_does_without_a_library() -> None:
    assert get_library("libGL.so.1", "opencv-contrib-python", True).startswith(
        "opencv-contrib-python-headless instead of opencv-contrib-python in the recipe's dependencies"
    )
    assert "instead" not in get_library("libGL.so.1", "open3d", True)


def test_a_package_for_numpy_1() -> None:
    assert fit_numpy("old", "2.3.1", find_release("25.06")) == (
        "add a newer old, or `numpy<2`, to the recipe's dependencies; lock and build again"
    )
