from __future__ import annotations

from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from ruamel.yaml import YAML

from envbuilder.errors import RecipeError, StaleLockError
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.pylock import lock_path
from envbuilder.recipe.load import load_recipe, schema
from envbuilder.recipe.matrix import load_matrix

RECIPE = """\
triton: ["24.10", "25.06"]
torch: "2.7.1"
cuda: [cpu, cu126, cu132]
"""


def write(root: Path, text: str, name: str = "resnet") -> Path:
    path = root / "recipes" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_each_combination_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    cells = load_matrix(["resnet"], tmp_path)
    assert [cell.name for cell in cells] == [
        f"resnet-{triton}-{cuda}" for triton in ("24_10", "25_06") for cuda in ("cpu", "cu126", "cu132")
    ]
    first = cells[0].get()
    assert (first.name, first.triton, first.cuda, first.path) == ("resnet-24_10-cpu", "24.10", "cpu", path)
    assert lock_path(first) == path.parent / "pylock.resnet-24_10-cpu.toml"
    assert len({cell.get().digest() for cell in cells if cell.recipe is not None}) == 4
    jsonschema.validate(YAML(typ="safe").load(path), schema())


def test_an_impossible_combination_says_why(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    refused = [cell for cell in load_matrix([], tmp_path) if cell.recipe is None]
    assert [cell.name for cell in refused] == ["resnet-24_10-cu132", "resnet-25_06-cu132"]
    with pytest.raises(RecipeError) as raised:
        refused[0].get()
    assert raised.value.message.startswith(f"{path}:3: ")
    assert "cu132" in raised.value.message


def test_a_recipe_without_lists_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, 'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n')
    (cell,) = load_matrix([str(path)], tmp_path)
    assert (cell.name, cell.get()) == ("resnet", load_recipe(path))


def test_lists_need_a_matrix(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    with pytest.raises(RecipeError) as raised:
        load_recipe(path)
    assert str(raised.value) == (
        f"{path}:1: `triton` is a list\n  hint: a recipe with lists stands for several: lock and build it with --matrix"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RECIPE.replace("[cpu, cu126, cu132]", "[]"), "{path}:3: `cuda` is an empty list"),
        (
            RECIPE.replace("cu126", "cpu"),
            "two recipes are called resnet-24_10-cpu\n  hint: does a list contain a value twice?",
        ),
    ],
)
def test_a_matrix_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as raised:
        load_matrix([], tmp_path)
    assert str(raised.value) == said.format(path=path)


def test_a_value_that_is_none_is_refused_in_its_cell(tmp_path: Path) -> None:
    write(tmp_path, RECIPE.replace('"24.10"', "24.10").replace("cu132", "[cpu]"))
    cells = {cell.name: cell for cell in load_matrix([], tmp_path)}
    error = cells["resnet-24_10-cpu"].error
    assert error is not None
    assert "`triton` is the number 24.1, not a text" in error.message
    assert [cell.name for cell in cells.values() if cell.recipe is not None] == [
        "resnet-25_06-cpu",
        "resnet-25_06-cu126",
    ]


def test_what_is_not_locked_says_what_to_type(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE)
    with pytest.raises(StaleLockError) as raised:
        check_lock(load_matrix([], tmp_path)[0].get())
    assert str(raised.value) == (
        f"recipe resnet-24_10-cpu is not locked: there is no {path.parent}/pylock.resnet-24_10-cpu.toml\n"
        "  hint: envbuilder lock --matrix resnet"
    )


def test_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipes in"):
        load_matrix([], tmp_path)
