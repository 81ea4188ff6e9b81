"""Files of other tools: each told by its content, and the fate of each of its lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.detect import KNOWN, read_import
from tests.helpers.imports import FILES
from tests.recipe.importing.conftest import READERS, check_example


@pytest.mark.parametrize("name", READERS["detect"])
def test_a_file_of_another_tool(tmp_path: Path, name: str) -> None:
    check_example(name, tmp_path)


def test_every_example_has_its_reader() -> None:
    names = [name for names in READERS.values() for name in names]
    assert sorted(names) == sorted(example.name for example in FILES)


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
    assert raised.value.message == f"{tmp_path} contains nothing that can be imported"
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
        ("flavors: {}\n", "names no environment file next to it (flavors.python_function.env)"),
        ("build: {python_version: '3.11', python_packages: 3}\n", "build.python_packages: expected a list"),
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


def test_every_line_of_the_report_is_for_machines_too(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("numpy<2\n--pre\n-f wheels\n")
    done = api.import_recipe(path, "mine", root=tmp_path)
    assert {one.fate for one in done.remarks} == {"carried over", "changed", "left out"}
    assert json.dumps([one.why for one in done.remarks])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("python:\n  packages: [six]\n", "a bentofile.yaml"),
        ("conda:\n  dependencies: [six]\n", "a bentofile.yaml"),
        ("python_version: py311\nresources: {}\n", "a truss"),
        ("build:\n  run: [ls]\npredict: x\n", "a cog.yaml"),
        ("numpy\nnot a requirement\nscipy\n", "a requirements file"),
    ],
)
def test_what_a_file_is(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert read_import(path).kind == kind


def test_the_line_that_is_no_requirement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# of conda\nnumpy=1.26.4=py311_0\n")
    with pytest.raises(RecipeError, match=r"imported: line 2 is no requirement: 'numpy=1\.26\.4=py311_0'"):
        read_import(path)


@pytest.mark.parametrize("name", ["conda", "requirements", "mlflow", "cog", "truss", "bentoml"])
def test_a_group_where_there_are_none(tmp_path: Path, name: str) -> None:
    example = next(one for one in FILES if one.name == name)
    for file, text in example.files.items():
        (tmp_path / file).write_text(text)
    with pytest.raises(RecipeError, match="has no group or extra 'fast': "):
        read_import(tmp_path / example.path, ["fast"])


BROKEN = {
    "Pipfile": [
        '[packages]\na = {version = "*", extras = 3}\n',
        "[packages]\na = [1]\n",
        "source = 3\n[packages]\n",
    ],
    "pyproject.toml": [
        '[tool.poetry]\ndependencies = ["a"]\n',
        "[tool.poetry]\ngroup = [1]\n",
        '[tool.poetry.dependencies]\na = {version = "1", extras = 3}\n',
    ],
    "cog.yaml": ["build:\n  python_version: '3.11'\n  run: 5\n"],
    "uv.lock": [
        'version = 1\n[[package]]\nname = "a"\nversion = "1"\nsource = {virtual = "."}\n'
        'dependencies = [{name = "b", extra = 3}]\n'
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BROKEN.items() for text in texts])
def test_a_value_of_another_kind_is_named(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RecipeError, match=r": expected (a list|an object), found "):
        read_import(path)


def test_one_text_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.poetry.dependencies]\na = {version = "1", extras = "abc"}\n')
    assert [str(one) for _, one in read_import(path).wanted.requirements] == ["a[abc]==1"]
