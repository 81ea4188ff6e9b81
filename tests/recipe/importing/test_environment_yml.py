"""Environment files as conda, mamba and micromamba understand them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.environment_yml import Environment, read_environment

Read = Callable[[str], Environment]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read an environment file with a text."""

    def write_and_read(text: str) -> Environment:
        path = tmp_path / "environment.yml"
        path.write_text(text)
        return read_environment(path)

    return write_and_read


def remarks(found: Environment) -> list[tuple[str, str, bool, str]]:
    return [
        (one.place.removeprefix(f"{found.path}:"), one.text, one.fate == "left out", one.why)
        for one in found.remarks
    ]


def test_what_is_in_a_file(read: Read) -> None:
    found = read(
        "name: mine\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip:\n    - einops\n    - -e .\n"
    )
    assert found.name == "mine"
    assert [said.text for said in found.channels] == ["conda-forge"]
    assert [(said.text, said.place) for said in found.specs] == [("python=3.11", f"{found.path}:5")]
    assert [said.text for said in found.pip] == ["einops", "-e ."]
    assert found.remarks == ()


def test_a_file_without_a_name_is_called_as_it_is(read: Read) -> None:
    assert read("channels:\ndependencies:\n").name == "environment"
    assert read("channels: []\n").specs == ()


@pytest.mark.parametrize("selector", ["linux", "unix", "linux64", "not win", "x86_64"])
def test_what_is_for_servers_is_taken(read: Read, selector: str) -> None:
    found = read(f"dependencies:\n  - libaio  # [{selector}]\n  - sel({selector}): numactl\n")
    assert [said.text for said in found.specs] == ["libaio", "numactl"]
    assert found.remarks == ()


@pytest.mark.parametrize("selector", ["win", "osx", "not linux", "aarch64"])
def test_what_is_for_other_machines_is_not(read: Read, selector: str) -> None:
    found = read(f"dependencies:\n  - pywin32  # [{selector}]\n  - sel({selector}): menuinst\n")
    assert found.specs == ()
    why = f"for other machines only: [{selector}]"
    assert remarks(found) == [("2", "pywin32", True, why), ("3", "menuinst", True, why)]


def test_a_selector_that_is_none_of_these(read: Read) -> None:
    found = read("dependencies:\n  - numpy  # [py>=39]\n")
    assert [said.text for said in found.specs] == ["numpy"]
    assert found.remarks == ()
    assert [(one.text, one.fate, one.why) for one in found.notes] == [
        ("numpy", "changed", "included, whatever its selector [py>=39] says")
    ]


def test_what_no_recipe_can_say(read: Read) -> None:
    found = read(
        "dependencies: []\nprefix: /home/x\nvariables:\n  A: b\nsurprise: 1\n"
        "platforms: [linux-64]\ncategory: dev\n"
    )
    assert remarks(found) == [
        ("2", "prefix", True, "its folder on one machine"),
        (
            "3",
            "variables",
            True,
            "the server's environment applies to every model; set a model's parameters in its config.pbtxt",
        ),
        ("5", "surprise", True, "recipes have no such key"),
        ("6", "platforms", True, "Triton's servers are Linux on x86-64"),
        ("7", "category", True, "that is conda-lock's"),
    ]
    found = read("dependencies:\n  - conda: [x]\n")
    assert remarks(found) == [("2", "conda", True, "neither a match spec nor `pip:`")]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("triton: x\n", "is not a conda environment file", "one has `dependencies:`, a list of match specs"),
        ("- python\n", "is not a conda environment file", "one has `dependencies:`"),
        (
            "dependencies: python\n",
            ":1: `dependencies` is no list",
            "write each on its own line, after a dash",
        ),
        ("dependencies:\n  - 7\n", ":2: an entry of `dependencies` is no text", 'write it in quotes: "7"'),
        ("dependencies:\n  - pip: einops\n", ":2: `pip` is no list", "write each on its own line"),
        ("dependencies:\n  - pip:\n    - {a: 1}\n", ":3: an entry of `pip` is no text", None),
        ("channels:\n  - ''\n", ":2: an entry of `channels` is no text", None),
        ("dependencies: [\n", "environment.yml:2:", None),
    ],
)
def test_bad_files(read: Read, text: str, message: str, hint: str | None) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert message in caught.value.message
    assert caught.value.exit_code == 2
    if hint is not None:
        assert hint in str(caught.value.hint)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yml: cannot be read: No such file"):
        read_environment(tmp_path / "gone.yml")
