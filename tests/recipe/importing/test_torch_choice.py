from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.catalog.torch import find_build
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirements import read_pip_lines
from envbuilder.recipe.importing.torch_choice import TorchChoice, default_torch, local_of_family, of_family
from envbuilder.recipe.template import DEFAULT_TORCH


def test_a_clash_is_said_with_the_choice() -> None:
    choice = TorchChoice(torch="2.7.1", cuda="cpu")
    assert choice.summary == 'torch: "2.7.1", cuda: cpu'
    choice.clash = "there is no torch 2.7.9"
    assert choice.summary == 'clash: there is no torch 2.7.9: torch: "2.7.1", cuda: cpu'


def test_the_torch_of_a_file_that_sets_none_has_wheels() -> None:
    assert default_torch("3.12") == DEFAULT_TORCH
    build = find_build(default_torch("3.9"))
    assert build is not None
    assert "3.9" in build.pythons
    assert default_torch("2.7") == DEFAULT_TORCH, "nothing is known"


@pytest.mark.parametrize(
    ("line", "torch", "variant"),
    [
        ("torchvision==0.20.1+cu121", "2.5.1", "cu121"),
        ("torchaudio==2.6.0", "2.6.0", None),
        ("torchvision>=0.20", None, None),
        ("numpy==1.26.4", None, None),
    ],
)
def test_what_is_built_with_torch(line: str, torch: str | None, variant: str | None) -> None:
    wanted = read_pip_lines([SourceLine(text=line, place="x:1")], Path())
    assert (of_family(wanted), local_of_family(wanted)) == (torch, variant)
