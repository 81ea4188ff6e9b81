from __future__ import annotations

import dataclasses

import pytest

from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.errors import RecipeError

_OLD = {
    "pythons": ("3.10",),
    "glibc": "2.35",
    "glibcxx": "3.4.30",
    "stub_glibcxx": "3.4.30",
    "launch": "sourced",
    "extraction": "plain",
    "demands": ("numpy<2",),
}
_NEW = {
    "pythons": ("3.12",),
    "glibc": "2.39",
    "glibcxx": "3.4.33",
    "stub_glibcxx": "3.4.32",
    "launch": "sourced",
    "extraction": "plain",
    "demands": ("numpy",),
}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("23.08", _OLD),
        ("24.10", _OLD),
        ("24.11", _NEW),
        ("25.07", _NEW),
        ("25.08", {**_NEW, "launch": "direct"}),
        ("26.05", {**_NEW, "launch": "direct"}),
        ("26.06", {**_NEW, "launch": "direct", "extraction": "secure"}),
        ("27.01", {**_NEW, "launch": "direct", "extraction": "secure"}),
        (PYTRITON, {**_OLD, "pythons": ("3.8", "3.9", "3.10", "3.11", "3.12"), "glibc": None}),
    ],
)
def test_what_a_release_demands(name: str, facts: dict[str, object]) -> None:
    assert dataclasses.asdict(find_release(name)) == {"name": name, **facts}


def test_wheels_may_ask_the_glibc_of_the_image_or_of_the_server() -> None:
    assert find_release("25.06").wheel_glibc == "2.39"
    assert find_release(PYTRITON).wheel_glibc == "2.34"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("23.07", "23.08"),
        ("25.13", "25.08"),
        ("25.6", "25.06"),
        ("pytriton", "pytriton-0.7.0"),
        ("", "pytriton-0.7.0, 25.06, 26.06"),
        ("99", "pytriton-0.7.0, 25.06, 26.06"),
    ],
)
def test_another_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(RecipeError) as raised:
        find_release(name)
    assert raised.value.message == (
        f"unknown Triton release {name!r}; expected YY.MM from 23.08 on, or pytriton-0.7.0"
    )
    assert str(raised.value.hint).partition(": ")[2].startswith(near)
