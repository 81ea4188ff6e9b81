from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.imports_more import BENTO_CONDA, BENTO_CONDA_FILE
from tests.recipe.importing.conftest import READERS, becomes, check_example


@pytest.mark.parametrize("name", READERS["bentofile"])
def test_what_becomes_of_each_line(name: str, tmp_path: Path) -> None:
    check_example(name, tmp_path)


def test_what_conda_and_pip_are_asked_for_in_it(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, BENTO_CONDA)
    assert values == {
        "torch": "2.7.1",
        "cuda": "pypi",
        "provider": "conda",
        "channels": ["conda-forge"],
        "conda": ["ffmpeg>=6"],
        "dependencies": ["einops", "six"],
    }
    assert fates == [
        'changed: 2: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "left out: 3: --trusted-host host: set package sources in envbuilder.toml, not in a recipe: trusted-hosts "
        '= ["…"]',
        "left out: 4: pack_git_packages: how BentoML packs, not what it installs",
        "carried over: 6: conda-forge",
        "carried over: 8: ffmpeg>=6",
        "carried over: 9: six",
        "carried over: 10: einops",
        "left out: 12: docker: distro: part of the image",
    ]


def test_a_conda_file_that_it_names(tmp_path: Path) -> None:
    values, fates = becomes(tmp_path, BENTO_CONDA_FILE)
    assert (values["torch"], values["conda"]) == ("2.7.1", ["ffmpeg"])
    assert "changed: 3: conda: environment_yml: ./env.yml: its lines are in the recipe" in fates
    assert "left out: 4: conda: channels: BentoML takes environment_yml, not this" in fates
