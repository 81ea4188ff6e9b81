from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from tests.helpers.imports_more import PYLOCK_SDIST
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["pylock"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_sources_and_extras(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, PYLOCK_SDIST)
    assert (values["dependencies"], values["build-from-source"]) == (["old==1.0"], ["old"])
    assert "changed: 6: old 1.0: build-from-source: [old]" in fates
    assert becomes(tmp_path, PYLOCK_SDIST, ["fast"])[0]["dependencies"] == ["old==1.0", "fast==1.0"]
    with pytest.raises(RecipeError, match="has no group or extra 'none'"):
        becomes(tmp_path, PYLOCK_SDIST, ["none"])
