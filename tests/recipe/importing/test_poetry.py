from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.imports_more import POETRY_2, POETRY_EXTRAS
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["poetry"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_a_project_whose_dependencies_poetry_knows_more_of(tmp_path: Path) -> None:
    """As Poetry 2 writes it: [project] says what, Poetry's table from where."""
    values, fates = becomes(tmp_path, POETRY_2)
    assert values == {
        "torch": "2.14.1",
        "cuda": "cu126",
        "python": "3.12",
        "dependencies": [
            "requests<3.0.0,>=2.32.3",
            "helper @ git+ssh://git@example.org/team/helper.git@v1",
        ],
    }
    assert fates == [
        "left out: 3: version, description: about the project, not of its environment",
        "left out: 5: >=3.10,<3.13: Poetry's own python narrows it",
        'changed: 6: torch (>=2.6.0,<3.0.0): torch: "2.14.1", cuda: cu126',
        "carried over: 6: requests (>=2.32.3,<3.0.0)",
        "changed: 6: helper: with Poetry's details: git+ssh://git@example.org/team/helper.git@v1",
        "left out: 9: fast (extra): an extra: --group fast takes it",
        "left out: 12: packages: about the project, not of its environment",
        'changed: 15: >=3.10,<4 || >=3.12,<4: python: "3.12"; the lock names the whole version',
        "left out: 18: unused: [project] names the dependencies: Poetry takes only details of those from here",
        "left out: 20: serve (dependency group): a dependency group: --group serve takes it",
        "left out: 26: http (dependency group): a dependency group: --group http takes it",
        "changed: 31: source pytorch: cuda: cu126",
        "left out: 35: dev (dependency group): a dependency group: --group dev takes it",
        "left out: 37: build-system: what builds the project itself",
    ]
    values, _ = becomes(tmp_path, POETRY_2, ["serve", "fast", "dev"])
    assert values["dependencies"][2:] == [
        "uvloop",
        "pytest",
        "bentoml<1.5,>=1.4",
        'httpx<0.29,>=0.28; sys_platform == "linux"',
    ]


def test_dependencies_that_only_poetry_names(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\ndynamic = ["dependencies"]\n'
        '[tool.poetry.dependencies]\nsix = "^1.16"\ntorch = "2.7.1"\n'
    )
    values, fates = becomes(tmp_path, {"pyproject.toml": text})
    assert (values["torch"], values["dependencies"]) == ("2.7.1", ["six<2,>=1.16"])
    assert "changed: 3: dynamic = dependencies: what [tool.poetry] has is taken" in fates


def test_details_of_poetry_limit_versions_too(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\ndependencies = ["six>=1.10", "idna", "own; python_version>\'3.8\'"]\n'
        "[tool.poetry.dependencies]\nsix = '<1.17'\nidna = {version = '*', platform = 'win32'}\n"
        "own = {path = 'own', extras = ['all']}\n"
    )
    files = {"pyproject.toml": text, "own/pyproject.toml": '[project]\nname = "own"\n'}
    values, _ = becomes(tmp_path, files)
    assert values["dependencies"] == [
        "six<1.17,>=1.10",
        "idna",
        'own[all] @ ../project/own ; python_version > "3.8"',
    ]


def test_platforms_extras_and_what_is_no_constraint(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, POETRY_EXTRAS)
    assert values == {
        "torch": "2.1.0",
        "cuda": "cu121",
        "python": "3.11",
        "dependencies": ["exact==1.2", 'several; python_version < "3.9" or python_version >= "3.11"'],
    }
    assert [line for line in fates if line.startswith("left out")] == [
        "left out: 5: torch version 2.1.0, source cpu, markers sys_platform == 'darwin': "
        "not for CPython 3.11 on Linux, x86-64",
        "left out: 10: wrong ^2024.1.*: '^2024.1.*' is not a version constraint of Poetry's",
        "left out: 12: mac version, platform: not for CPython 3.11 on Linux, x86-64",
        "left out: 13: mysqlclient version, optional: optional: --group mysql takes it",
        "left out: 15: mysql (extra): an extra: --group mysql takes it",
        "left out: 16: dev (dependency group): a dependency group: --group dev takes it",
        "left out: 24: source cpu: nothing that is taken comes from it (cuda: cu121)",
    ]
    values, _ = becomes(tmp_path, POETRY_EXTRAS, ["mysql", "dev"])
    assert values["dependencies"][2:] == ["mysqlclient<3,>=2", "pytest<9,>=8"]


def test_an_index_that_takes_the_place_of_pypi(tmp_path: Path) -> None:
    text = (
        '[tool.poetry.dependencies]\ntorch = "2.7.1"\n[[tool.poetry.source]]\nname = "pt"\n'
        'url = "https://download.pytorch.org/whl/cu126"\n'
    )
    assert becomes(tmp_path, {"pyproject.toml": text})[0]["cuda"] == "cu126"
