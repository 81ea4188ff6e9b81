from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.imports_more import COG_KEYS, TRUSS_LOCK, TRUSS_PROJECT
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["models"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_every_key_of_cog_has_a_fate(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, COG_KEYS)
    assert values == {"torch": "2.7.1", "cuda": "cpu", "python": "3.10"}
    assert fates == [
        "changed: 2: cpu: cuda: cpu",
        "carried over: 3: 3.10",
        'changed: 4: torch==2.7.1: torch: "2.7.1", cuda: cpu',
        "left out: 5: echo a: a command of an image's build",
        "left out: 7: echo b: a command of an image's build",
        "left out: 8: echo c: a command of an image's build",
        "left out: 10: build: fast: how cog builds an image, not what it installs",
    ]


def test_what_a_truss_names_is_read_as_what_it_is(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, TRUSS_PROJECT)
    assert values == {"torch": "2.7.1", "cuda": "pypi", "python": "3.11", "dependencies": ["six"]}
    assert "left out: 3: >=3.10: config.yaml sets the version of Python" in fates
    values, fates = becomes(tmp_path / "lock", TRUSS_LOCK)
    assert "part @ ../project/packages/part" in values["dependencies"]
    assert "changed: 1: requirements_file: ./uv.lock: its lines are in the recipe" in fates
    _, fates = becomes(
        tmp_path / "gone", {"config.yaml": "requirements_file: ./uv.lock\npython_version: x\n"}
    )
    assert fates[-1].startswith("left out: 2: x: expected py311")
    assert fates[-2].startswith("left out: 1: requirements_file: ./uv.lock: ")


def test_a_cuda_that_a_line_says_otherwise(tmp_path: Path) -> None:
    text = "build:\n  cuda: '12.1'\n  python_version: '3.11'\n  python_packages: [torch==2.7.1+cu126]\n"
    values, fates = becomes(tmp_path, {"cog.yaml": text})
    assert values["cuda"] == "cu126"
    assert fates[0] == "left out: 2: 12.1: clash: torch itself is asked for as cu126"
