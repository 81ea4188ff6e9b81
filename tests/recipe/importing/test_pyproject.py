from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.detect import read_import
from tests.helpers.imports_more import ONLY_GROUPS
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["pyproject"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_groups_of_a_project(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[project]\nname = "x"\ndependencies = ["a"]\n[project.optional-dependencies]\nfast = ["b"]\nslow = ["c"]\n'
        '[dependency-groups]\nserve = ["d", {include-group = "more"}]\nmore = ["e"]\n'
    )
    found = read_import(path, ["fast", "serve"])
    assert sorted(found.wanted.names()) == ["a", "b", "d", "e"]
    assert [one.text for one in found.wanted.remarks] == ["slow (extra)"]
    with pytest.raises(RecipeError, match="has no group or extra 'none'"):
        read_import(path, ["none"])


def test_an_extra_that_names_others_of_the_project(tmp_path: Path) -> None:
    """The name is the project's own, whatever package an index has under it."""
    text = """[project]
name = "A.b"
dependencies = ["numpy", "a-b"]
[project.optional-dependencies]
all = ["a_b[fast,loop]; python_version >= '3.9'", "a.b[none]"]
fast = ["scipy"]
loop = ["a-b[all]", "six"]
other = ["idna"]
[dependency-groups]
dev = ["a-b[other]"]
"""
    values, fates = becomes(tmp_path, {"pyproject.toml": text}, ["all"])
    assert values["dependencies"] == [
        "numpy",
        'scipy; python_version >= "3.9"',
        'six; python_version >= "3.9"',
    ]
    assert [line for line in fates if "numpy" not in line and "CUDA" not in line and "torch" not in line] == [
        "left out: 3: a-b: the project itself",
        "changed: 5: a_b[fast,loop]; python_version >= '3.9': what its extra fast, loop has is in the recipe",
        "left out: 5: a.b[none]: the project itself, which has no such extra",
        "carried over: 6: scipy",
        "changed: 7: a-b[all]: what its extra all has is in the recipe",
        "carried over: 7: six",
        "left out: 8: other (extra): an extra: --group other takes it",
        "left out: 10: dev (dependency group): a dependency group: --group dev takes it",
    ]
    values, _ = becomes(tmp_path, {"pyproject.toml": text}, ["dev"])
    assert values["dependencies"] == ["numpy", "idna"]


def test_groups_without_a_project_and_tables_of_other_tools(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, ONLY_GROUPS)
    assert "dependencies" not in values
    assert [line for line in fates if line.startswith("left out")] == [
        "left out: 2: serve (dependency group): a dependency group: --group serve takes it",
        "left out: 3: more (dependency group): a dependency group: --group more takes it",
        "left out: 5: tool.uv.package: the project itself is not part of its dependencies",
        "left out: 6: tool.uv.dev-dependencies: for development, not for serving: --group dev takes it",
        "left out: 6: tool.pdm.dev-dependencies: a table of pdm's: name packages in [project]",
        "left out: 9: tool.hatch.envs: a table of hatch's: name packages in [project]",
        "left out: 11: tool.black: settings of another tool",
    ]
    values, _ = becomes(tmp_path, ONLY_GROUPS, ["serve", "dev"])
    assert values["dependencies"] == ["six", "idna", "pytest"]


def test_a_group_that_includes_itself(tmp_path: Path) -> None:
    text = '[dependency-groups]\na = [{include-group = "B"}]\nb = [{include-group = "a"}]\nc = [3]\n'
    for group in ("a", "c"):
        with pytest.raises(RecipeError, match=r"dependency-groups\.[abc]: "):
            becomes(tmp_path, {"pyproject.toml": text}, [group])
