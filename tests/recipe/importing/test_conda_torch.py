from __future__ import annotations

import pytest

from envbuilder.recipe.importing.conda_torch import compared, cuda_of, version_of
from tests.recipe.importing.conftest import spec


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        (["pytorch=2.7.1"], "2.7.1"),
        (["pytorch>=2.5,<2.7"], "2.6.0"),
        (["pytorch"], None),
        (["pytorch=1.13"], None),
    ],
)
def test_the_version(texts: list[str], version: str | None) -> None:
    assert version_of([spec(text) for text in texts]) == version


@pytest.mark.parametrize(
    ("texts", "cuda"),
    [
        (["pytorch=2.5.1", "pytorch-cuda=12.4"], "cu124"),
        (["pytorch=2.5.1=py3.11_cuda12.1_cudnn9"], "cu121"),
        (["pytorch=2.5.1", "cuda-version>=11,<12"], "cu118"),
        (["pytorch=2.5.1", "pytorch-gpu"], "cu124"),
        (["pytorch=2.5.1", "pytorch-mutex=1.0=cuda"], "cu124"),
        (["pytorch=2.5.1", "pytorch-mutex=1.0=cpu"], "cpu"),
        (["pytorch=2.5.1", "cpuonly"], "cpu"),
        (["pytorch=2.5.1"], None),
    ],
)
def test_the_build(texts: list[str], cuda: str | None) -> None:
    specs = [spec(text) for text in texts]
    asked = [one for one in specs if one.name in ("pytorch", "pytorch-gpu")]
    assert cuda_of(specs, asked, "2.5.1") == cuda


@pytest.mark.parametrize(
    ("text", "cuda", "fits"),
    [
        ("pytorch-mutex=1.0=cuda", "cu121", True),
        ("pytorch-mutex=1.0=cpu", "cu121", False),
        ("pytorch-mutex=1.0=cpu", "cpu", True),
        ("pytorch-mutex", "cu121", True),
        ("cpuonly", "cpu", True),
        ("cpuonly", "cu121", False),
        ("pytorch-cuda=12.1", "cu121", True),
        ("pytorch-cuda=12.4", "cu121", False),
        ("pytorch-cuda=12.4", "cpu", False),
    ],
)
def test_what_chooses_a_build(text: str, cuda: str, fits: bool) -> None:
    assert compared(spec(text), cuda) == (
        f"cuda: {cuda}" if fits else f"clash: cuda: {cuda} is taken instead"
    )
