from __future__ import annotations

import re
from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.detect import read_import
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.wanted import Wanted, read_marker

HERE = SourceLine(text="x", place="file:1")


def test_requirements_and_what_is_none() -> None:
    wanted = Wanted()
    wanted.require(HERE, "Alpha_A>=1")
    wanted.require(HERE, "no requirement!")
    assert wanted.names() == {"alpha-a"}
    assert [one.fate for one in wanted.remarks] == ["left out"]


def test_a_constraint_says_a_version() -> None:
    wanted = Wanted()
    for text in ("beta<2", "beta @ https://example.com/beta.whl", "?"):
        wanted.constrain(HERE, text)
    assert [str(requirement) for _, requirement in wanted.constraints] == ["beta<2"]
    assert len(wanted.remarks) == 2
    assert wanted.names() == set()


@pytest.mark.parametrize("marker", ['sys_platform ~= "linux"', "sys;platform != 'linux'"])
def test_a_marker_without_an_answer(marker: str) -> None:
    wanted = Wanted()
    wanted.require(HERE, f"alpha ; {marker}")
    assert [one.fate for one in wanted.remarks] == ["left out"]
    with pytest.raises(RecipeError, match=r"^uv\.lock: .* is not a marker \(PEP 508\): "):
        read_marker(marker, "uv.lock")
    assert read_marker("", "uv.lock") is None
    assert read_marker('extra == "fast"', "uv.lock") is not None


IN_A_FILE = {
    "pyproject.toml": (
        '[project]\nname = "x"\ndependencies = ["alpha"]\n'
        '[tool.uv.sources]\nalpha = {{ path = "../alpha", marker = "{marker}" }}\n'
    ),
    "uv.lock": (
        'version = 1\n[[package]]\nname = "x"\nversion = "1"\nsource = {{ editable = "." }}\n'
        'dependencies = [{{ name = "alpha", marker = "{marker}" }}]\n'
        '[[package]]\nname = "alpha"\nversion = "1"\n'
    ),
    "forked/uv.lock": (
        'version = 1\n[[package]]\nname = "alpha"\nversion = "1"\nresolution-markers = ["{marker}"]\n'
    ),
    "pylock.toml": (
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "alpha"\nversion = "1"\n'
        'directory = {{ path = "alpha" }}\n'
        "marker = \"'fast' in extras and {marker}\"\n"
    ),
}


@pytest.mark.parametrize("marker", ["sys_platform ~= 'linux'", "sys;platform != 'linux'"])
@pytest.mark.parametrize("name", IN_A_FILE)
def test_a_file_with_such_a_marker_is_named(tmp_path: Path, name: str, marker: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(IN_A_FILE[name].format(marker=marker))
    with pytest.raises(RecipeError, match=re.escape(str(path))):
        read_import(path)
    path.write_text(IN_A_FILE[name].format(marker="sys_platform == 'linux'"))
    read_import(path)
