"""What Poetry takes for a version constraint, as poetry-core reads it."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet

from envbuilder.recipe.importing.poetry_versions import (
    alternatives,
    platform_marker,
    python_marker,
    specifier,
)


@pytest.mark.parametrize(
    ("text", "specifiers"),
    [
        ("^1.2", ">=1.2,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0", ">=0.0,<0.1"),
        ("~1.2", ">=1.2,<1.3"),
        ("~1.2.3.4", ">=1.2.3.4,<1.3"),
        ("~2", ">=2,<3"),
        ("1.2", "==1.2"),
        ("=1.2", "==1.2"),
        ("=1.2.*", "==1.2.*"),
        ("v1.2", "==1.2"),
        ("<>1.2", "!=1.2"),
        (">=3.*", ">=3"),
        ("^1!2.0", ">=1!2.0,<1!3"),
        ("==1.2+cu126", "==1.2+cu126"),
        ("*", ""),
        (">=1,<3", "<3,>=1"),
        (">=1 <3", "<3,>=1"),
        ("no version", None),
        ("^2024.1.*", None),
        ("1.x", None),
        ("1.0 || 2.0", None),
    ],
)
def test_constraints(text: str, specifiers: str | None) -> None:
    found = specifier(text)
    if specifiers is None:
        assert found is None
    else:
        assert found is not None
        assert SpecifierSet(found) == SpecifierSet(specifiers)


def test_alternatives() -> None:
    assert alternatives("^3.10 || ^3.12|3.8") == ["^3.10", "^3.12", "3.8"]
    assert alternatives("") == [""]


def test_markers() -> None:
    assert python_marker("<3.9 || ~3.11.2") == (
        '(python_version < "3.9") or (python_full_version >= "3.11.2" and python_version < "3.12")'
    )
    assert python_marker("* || 3.9") == ""
    assert python_marker("x") is None
    assert platform_marker("linux || !=win32") == 'sys_platform == "linux" or sys_platform != "win32"'
    assert platform_marker("a b") is None
