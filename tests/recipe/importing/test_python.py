"""Which Python a file leads to."""

from __future__ import annotations

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.recipe.importing.python import choose_python, possible_pythons
from tests.recipe.importing.conftest import lines_and_specs, spec


def choose(
    *specs: str, of: str | None = None, release: str = "pytriton-0.7.0", python: str | None = None
) -> tuple[str, str | None, list[str]]:
    """Return the Python that is taken, what the recipe says of it, and what is told."""
    found = lines_and_specs(conda=bool(specs), python=of)
    asked = [spec(text) for text in specs]
    minor = possible_pythons(found, asked, find_release(release), python)[0]
    said, remarks = choose_python(found, asked, find_release(release), minor, python)
    return minor, said, [f"{one.fate}: {one.text}: {one.why}".removesuffix(": ") for one in remarks]


@pytest.mark.parametrize(
    ("text", "release", "python", "remark"),
    [
        ("python=3.12", "25.06", None, ""),
        ("python=3.12.4", "25.06", None, 'python: "3.12"; the lock names the whole version'),
        ("python=3.11", "pytriton-0.7.0", "3.11", ""),
        ("python=3.9", "25.06", None, "Triton 25.06 has a stub for 3.12 only: 3.12 is taken"),
        ("python>=3.10,<3.12", "pytriton-0.7.0", "3.11", 'python: "3.11"; the lock names the whole version'),
    ],
)
def test_python(text: str, release: str, python: str | None, remark: str) -> None:
    _, found, remarks = choose(text, release=release)
    assert found == python
    assert [one.partition(f": {text}")[2].removeprefix(": ") for one in remarks] == [remark]


@pytest.mark.parametrize(
    ("text", "python"),
    [
        (">=3.10,<3.12", "3.11"),
        ("3.11.4", "3.11"),
        ("~=3.10.0", "3.10"),
        (">=3.8,<3.9 || >=3.10,<3.11", "3.10"),
        ("nonsense", None),
    ],
)
def test_python_of_a_specifier(text: str, python: str | None) -> None:
    assert choose(of=text)[1] == python


def test_python_of_a_person() -> None:
    assert choose("python=3.9", python="3.10") == (
        "3.10",
        "3.10",
        ['changed: python=3.9: python: "3.10", as set by --python'],
    )
    assert choose() == ("3.12", None, [])


def test_every_line_that_speaks_of_python_is_told() -> None:
    """conda has all of its specs hold; what else the file says comes after it."""
    assert choose("python", "python>=3.9", "python<3.12", of="3.12") == (
        "3.11",
        "3.11",
        [
            "carried over: python",
            'changed: python>=3.9: python: "3.11"; the lock names the whole version',
            "left out: python<3.12: python>=3.9 says it",
            "left out: 3.12: python>=3.9 says it",
        ],
    )
