from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from tests.helpers.imports_more import UV_EXTRAS
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["uv_table"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


@pytest.mark.parametrize(("group", "torch", "cuda"), [("cpu", "2.14.1", "cpu"), ("cu128", "2.11.0", "cu128")])
def test_a_source_for_an_extra(tmp_path: Path, group: str, torch: str, cuda: str) -> None:
    """uv's own example for PyTorch."""
    values, fates = becomes(tmp_path, UV_EXTRAS, [group])
    assert (values["torch"], values["cuda"]) == (torch, cuda)
    assert values["dependencies"] == ["numpy", "six", "torchvision>=0.22.0"]
    other = {"cpu": "cu128", "cu128": "cpu"}[group]
    assert [line.partition(": ")[2] for line in fates if "torch" in line and line.startswith("left out")] == [
        f"{20 + (group == 'cpu')}: {name} from pytorch-{other} ({other}): for the extra {other}, which is not taken"
        for name in ("torch", "torchvision")
    ] + [
        f"{35 - 5 * (group == 'cu128')}: index pytorch-{other}: nothing that is taken comes from it (cuda: {cuda})"
    ]


def test_a_source_for_a_group_and_one_for_another_platform(tmp_path: Path) -> None:
    text = """[project]
name = "x"
dependencies = ["six", "idna"]
[dependency-groups]
gpu = ["torch==2.7.1", "six"]
[tool.uv.sources]
torch = [{ index = "cu126", group = "gpu" }]
six = { path = "six", marker = "platform_system == 'Darwin'" }
idna = { git = "https://example.org/idna", marker = "python_version < '3.12'" }
[[tool.uv.index]]
name = "cu126"
url = "https://download.pytorch.org/whl/cu126"
explicit = true
"""
    values, _ = becomes(tmp_path, {"pyproject.toml": text}, ["gpu"])
    assert (values["torch"], values["cuda"]) == ("2.7.1", "cu126")
    assert values["dependencies"] == ["six", 'idna; python_version >= "3.12"']
    values, _ = becomes(tmp_path, {"pyproject.toml": text}, ["gpu"], python="3.11")
    assert values["dependencies"] == ["six", 'idna @ git+https://example.org/idna ; python_version < "3.12"']


def test_where_no_source_is_for_linux_the_index_is_asked(tmp_path: Path) -> None:
    text = """[project]
name = "x"
dependencies = ["torch==2.7.1"]
[tool.uv.sources]
torch = [{ index = "cpu", marker = "platform_system == 'Darwin'" }]
[[tool.uv.index]]
name = "cpu"
url = "https://download.pytorch.org/whl/cpu"
explicit = true
"""
    values, fates = becomes(tmp_path, {"pyproject.toml": text})
    assert (values["torch"], values["cuda"]) == ("2.7.1", "pypi")
    assert fates == [
        'changed: 3: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "left out: 5: torch from cpu (platform_system == 'Darwin'): not for Linux, x86-64",
        "left out: 8: index cpu: nothing that is taken comes from it (cuda: pypi)",
    ]


def test_every_setting_has_a_fate(tmp_path: Path) -> None:
    keys = (
        "exclude-newer", "resolution", "exclude-dependencies", "no-binary", "new-setting", "prerelease",
        "no-binary-package", "constraint-dependencies", "managed",
    )  # fmt: skip
    values = dict.fromkeys(keys, '"x"') | {
        "no-binary-package": '["six"]',
        "exclude-dependencies": '["OpenCV-Python", "numpy", "mine"]',
        "constraint-dependencies": '["idna<3"]',
        "prerelease": '"if-necessary"',
    }
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    text = f'[project]\nname = "x"\ndependencies = ["mine"]\n[tool.uv]\n{lines}[tool.uv.pip]\ntorch-backend = "cpu"\n'
    recipe, fates = becomes(tmp_path, {"pyproject.toml": text})
    assert {int(line.split(": ")[1]) for line in fates if line.split(": ")[1].isdecimal()} == {
        3,
        *range(5, 15),
    }
    assert (recipe["build-from-source"], recipe["constraints"]) == (["six"], ["idna<3"])
    assert recipe["exclude-dependencies"] == ["opencv-python"]
    assert [fate for fate in fates if "OpenCV" in fate or ": numpy" in fate or ": mine: " in fate] == [
        "carried over: 7: OpenCV-Python",
        "left out: 7: numpy: no server runs a model without it",
        "left out: 7: mine: the project itself requires it: remove it from its dependencies",
    ]


def test_a_member_of_the_workspace_is_told(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\ndependencies = ["lib"]\n[tool.uv.sources]\nlib = { workspace = true }\n'
    assert becomes(tmp_path, {"pyproject.toml": text})[1][-1] == (
        "left out: 3: lib: a member of a workspace: name its folder (NAME @ ./folder)"
    )
    with pytest.raises(RecipeError, match=r"tool\.uv\.index: expected a list"):
        becomes(tmp_path, {"pyproject.toml": '[project]\nname = "x"\n[tool.uv]\nindex = 3\n'})
