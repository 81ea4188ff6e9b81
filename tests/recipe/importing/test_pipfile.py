from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from tests.helpers.imports_more import PIPFILE_LOCK_CATEGORIES, PIPFILE_MARKERS
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["pipfile"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_every_marker_counts(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, PIPFILE_MARKERS)
    assert values["dependencies"] == ['requests[socks]>=2; python_version >= "3.8"', "own @ ../project/own"]
    assert fates[2:] == [
        "carried over: 3: source pypi",
        "carried over: 6: requests >=2",
        "left out: 7: pywinusb *: not for CPython 3.12 on Linux, x86-64",
        "left out: 8: arm *: not for CPython 3.12 on Linux, x86-64",
        "changed: 9: own: built into a wheel when the recipe is locked, not editable",
        "left out: 10: e682b37: an archive of sources at an address cannot be pinned: build a wheel of it and name "
        "that",
        "left out: 12: [serve]: a custom category: --group serve takes it",
        "left out: 15: [dev-packages]: for development, not for serving: --group dev takes it",
        "changed: 19: allow_prereleases: prereleases: true",
        "left out: 20: sort_pipfile: how Pipenv works, not what it installs",
    ]


def test_categories(tmp_path: Path) -> None:
    values, _ = becomes(tmp_path, PIPFILE_MARKERS, ["serve", "dev"])
    assert values["dependencies"][2:] == ["gunicorn", "pytest"]
    with pytest.raises(RecipeError, match="has no category 'none'"):
        becomes(tmp_path, PIPFILE_MARKERS, ["none"])
    values, fates = becomes(tmp_path, PIPFILE_LOCK_CATEGORIES)
    assert values["dependencies"][0] == "requests[socks]==2.32.3"
    assert "left out: 7: serve: a custom category: --group serve takes it" in fates
    values, _ = becomes(tmp_path, PIPFILE_LOCK_CATEGORIES, ["serve", "develop"])
    assert {"gunicorn==23.0.0", "pytest==8.0.0"} <= {*values["dependencies"]}


def test_the_first_source_is_everybodys(tmp_path: Path) -> None:
    text = (
        '[[source]]\nname = "pt"\nurl = "https://download.pytorch.org/whl/cu126"\n'
        '[packages]\ntorch = "==2.7.1"\n'
    )
    assert becomes(tmp_path, {"Pipfile": text})[0]["cuda"] == "cu126"
