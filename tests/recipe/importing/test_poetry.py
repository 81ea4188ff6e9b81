from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from envbuilder.recipe.importing.poetry import specifier
from tests.recipe.importing.conftest import READERS, check_example


@pytest.mark.parametrize("name", READERS["poetry"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "specifiers"),
    [
        ("^1.2", ">=1.2,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("~1.2", ">=1.2,<1.3"),
        ("1.2", "==1.2"),
        ("*", ""),
        (">=1,<3", "<3,>=1"),
        ("no version", None),
    ],
)
def test_carets_and_tildes(text: str, specifiers: str | None) -> None:
    found = specifier(text)
    if specifiers is None:
        assert found is None
    else:
        assert found is not None
        assert SpecifierSet(found) == SpecifierSet(specifiers)
