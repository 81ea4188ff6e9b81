from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.detect import read_import
from tests.helpers.imports_more import UV_CONFLICTS
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["uv_lock"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_extras_that_exclude_each_other(tmp_path: Path) -> None:
    """What cannot be reached along markers that hold is not installed: the other extra's torch, another pandas."""
    values, fates = becomes(tmp_path, UV_CONFLICTS)
    assert values == {
        "torch": "2.13.0",
        "cuda": "cpu",
        "python": "3.12",
        "dependencies": ['pandas==2.2.0; python_version >= "3.12"', "part @ ../project/packages/part"],
        "constraints": ["six==1.17.0"],
        "build-from-source": ["six"],
    }
    nothing = "nothing that is taken requires it on Linux, x86-64"
    assert fates[3:] == [
        "left out: 14: demo 0.1.0: the project itself: build it with NAME @ ./folder",
        "left out: 35: pandas 2.1.0: not for CPython 3.12 on Linux, x86-64",
        "carried over: 41: pandas 2.2.0",
        "carried over: 47: part 0.2.0",
        "changed: 53: six 1.17.0: build-from-source: [six]; constraints: six==1.17.0",
        f"left out: 59: torch 2.6.0+cpu: {nothing}",
        f"left out: 64: torch 2.6.0+cu124: {nothing}",
        f"left out: 69: uvicorn 0.34.0: {nothing}",
        f"left out: 78: h11 0.14.0: {nothing}",
        f"left out: 83: httptools 0.6.4: {nothing}",
    ]


def test_the_extra_that_is_taken(tmp_path: Path) -> None:
    values, _ = becomes(tmp_path, UV_CONFLICTS, ["cpu"])
    assert (values["torch"], values["cuda"]) == ("2.6.0", "cpu")
    values, fates = becomes(tmp_path, UV_CONFLICTS, ["cu124", "serve"], python="3.11")
    assert (values["torch"], values["cuda"]) == ("2.6.0", "cu124")
    assert values["dependencies"] == [
        'pandas==2.1.0; python_version < "3.12"',
        "part @ ../project/packages/part",
        "uvicorn[standard]==0.34.0",
    ]
    assert values["constraints"] == ["six==1.17.0", "h11==0.14.0", "httptools==0.6.4"]
    assert "left out: 59: torch 2.6.0+cpu: nothing that is taken requires it on Linux, x86-64" in fates
    with pytest.raises(RecipeError, match="has no group or extra 'none'"):
        becomes(tmp_path, UV_CONFLICTS, ["none"])


def test_a_folder_with_a_lock_takes_groups(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(UV_CONFLICTS["uv.lock"])
    assert "uvicorn" in read_import(tmp_path, ["serve"]).wanted.names()


def test_members_of_a_workspace_without_a_project(tmp_path: Path) -> None:
    """uv installs what all members ask for."""
    text = """version = 1
[manifest]
members = ["api", "core"]
[[package]]
name = "api"
version = "1"
source = { editable = "packages/api" }
dependencies = [{ name = "six" }, { name = "core" }]
[[package]]
name = "core"
version = "1"
source = { virtual = "packages/core" }
dependencies = [{ name = "idna" }]
[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "idna"
version = "3.10"
source = { registry = "https://pypi.org/simple" }
"""
    values, fates = becomes(tmp_path, {"uv.lock": text})
    assert values["dependencies"] == ["six==1.17.0", "idna==3.10"]
    assert "left out: 5: api 1: the project itself: build it with NAME @ ./folder" in fates
    assert "left out: 10: core 1: no package: only what it asks for is taken" in fates


def test_an_answer_for_markers_with_extras(tmp_path: Path) -> None:
    other = UV_CONFLICTS["uv.lock"].replace("extra == 'extra-4-demo-cpu' and", "os_name == 'nt' and")
    values, _ = becomes(tmp_path, {**UV_CONFLICTS, "uv.lock": other}, ["cpu"])
    assert values["torch"] == "2.13.0"
