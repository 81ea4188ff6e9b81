"""Files of other tools: each told by its content, and the fate of each of its lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from envbuilder import api
from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.convert import Choices
from envbuilder.recipe.importing.detect import KNOWN, read_import
from envbuilder.recipe.load import load_recipe
from tests.helpers.imports import FILES, Example


def made(path: Path, folder: Path, **choices: Any) -> tuple[dict[str, Any], list[str]]:
    """Import *path*; return the recipe, and the fate of each line, without its folder."""
    done = api.import_recipe(path, "mine", root=folder, choices=Choices(triton="pytriton-0.7.0", **choices))
    load_recipe(done.recipe)
    values: dict[str, Any] = YAML(typ="safe").load(done.recipe.read_text())
    fates = []
    for one in done.remarks:
        place = one.place.rpartition(":")[2]
        line = f"{place}: " if place.isdecimal() else ""
        said = ": ".join(part for part in (one.text, one.why) if part)
        fates.append(f"{one.fate}: {line}{said}")
    return values, fates


@pytest.mark.parametrize("example", FILES, ids=lambda example: example.name)
def test_a_file_of_another_tool(tmp_path: Path, example: Example) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in example.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    # Its content tells which tool wrote it, whatever it is called.
    path = folder / example.path
    values, fates = made(path, tmp_path)
    expected = {"triton": "pytriton-0.7.0", **example.recipe}
    assert values == expected
    assert fates == [line.replace("{folder}", str(folder)) for line in example.fates]


@pytest.mark.parametrize(
    "name", ["environment.yml", "requirements.txt", "pyproject.toml", "uv.lock", "Pipfile.lock", "MLmodel"]
)
def test_a_folder_is_imported_by_what_it_holds(tmp_path: Path, name: str) -> None:
    example = next(one for one in FILES if one.path == name)
    for other, text in example.files.items():
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text(text)
    assert read_import(tmp_path).path == tmp_path / name


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        read_import(tmp_path)
    assert raised.value.message == f"{tmp_path} holds nothing that can be imported"
    assert raised.value.hint == f"expected {KNOWN}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a file that can be imported"),
        ("Once upon a time there was a model.\n", "is not a file that can be imported"),
        ('{"a": 1}', "is not a file that can be imported"),
        (
            "[tool.black]\nline-length = 3\n",
            "names no dependencies: it has neither [project] nor [tool.poetry]",
        ),
        ("[project]\ndependencies = 3\n", "project.dependencies: expected a list, found 3"),
        ("[[package]]\nname = 3\n", "package[0].name: expected a line of text, found 3"),
        ('lock-version = "1.0"\npackages = [{name = 3}]\n', "is not a pylock.toml (PEP 751): "),
        ("flavors: {}\n", "names no environment file that lies beside it (flavors.python_function.env)"),
        ("build: {python_version: '3.11', python_packages: 3}\n", "python_packages: expected a list"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(RecipeError) as raised:
        read_import(path)
    assert raised.value.message.removeprefix(str(path)).lstrip(": ").startswith(message)


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: None, lambda path: path.write_bytes(b"\xff")]
)
def test_what_cannot_be_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "requirements.txt"
    make(path)
    with pytest.raises(RecipeError) as raised:
        read_import(path)
    assert str(path) in raised.value.message


def test_groups_of_a_project(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[project]\nname = "x"\ndependencies = ["a"]\n[project.optional-dependencies]\nfast = ["b"]\nslow = ["c"]\n'
        '[dependency-groups]\nserve = ["d", {include-group = "more"}]\nmore = ["e"]\n'
    )
    found = read_import(path, ["fast", "serve"])
    assert sorted(found.wanted.names()) == ["a", "b", "d", "e"]
    assert [one.text for one in found.wanted.remarks] == ["slow (extra)", "more (dependency group)"]
    with pytest.raises(RecipeError, match="has no group or extra 'none'"):
        read_import(path, ["none"])


def test_every_line_of_the_report_is_for_machines_too(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("numpy<2\n--pre\n-f wheels\n")
    done = api.import_recipe(path, "mine", root=tmp_path)
    assert {one.fate for one in done.remarks} == {"carried over", "changed", "left out"}
    assert json.dumps([one.why for one in done.remarks])
