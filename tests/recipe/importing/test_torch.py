"""torch, its CUDA build, and Python, out of what conda users write."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from envbuilder.catalog.torch import find_build
from envbuilder.catalog.triton import find_release
from envbuilder.recipe.importing.match_spec import Spec, read_spec
from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.torch import TorchChoice, choose_python, choose_torch
from envbuilder.recipe.template import DEFAULT_TORCH

WHOLE = Said(text="", place="e.yml")


def spec(text: str) -> Spec:
    found = read_spec(Said(text=text, place="e.yml:1"))
    assert isinstance(found, Spec)
    return found


def chosen(
    *specs: str,
    wheel: str | None = None,
    variant: str | None = None,
    torch: str | None = None,
    cuda: str | None = None,
) -> TorchChoice:
    asked = None if wheel is None else (Said(text=wheel, place="e.yml:9"), Requirement(wheel))
    return choose_torch([spec(text) for text in specs], asked, variant, WHOLE, torch=torch, cuda=cuda)


@pytest.mark.parametrize(
    ("specs", "torch", "cuda"),
    [
        (["pytorch=2.7.1", "pytorch-cuda=12.6"], "2.7.1", "cu126"),
        (["pytorch==2.7.1", "cpuonly"], "2.7.1", "cpu"),
        (["pytorch 2.7.1 cpu_generic*"], "2.7.1", "cpu"),
        (["pytorch=2.7.1=*cuda126*"], "2.7.1", "cu126"),
        (["pytorch-gpu=2.7.1", "cuda-version=12.8"], "2.7.1", "cu128"),
        (["pytorch-gpu=2.7.1", "cuda-version>=12,<12.8"], "2.7.1", "cu126"),
        (["pytorch-cpu==2.7.1"], "2.7.1", "cpu"),
    ],
)
def test_of_conda_packages(specs: list[str], torch: str, cuda: str) -> None:
    found = chosen(*specs)
    assert (found.torch, found.cuda) == (torch, cuda)


def test_the_newest_that_is_allowed() -> None:
    found = chosen("pytorch>=2.5,<2.7", "pytorch-gpu")
    build = find_build(found.torch)
    assert found.torch.startswith("2.6.")
    assert build is not None
    assert found.cuda == max(build.cuda)


@pytest.mark.parametrize(
    ("specs", "why"),
    [
        (["ffmpeg"], f"says nothing of torch: {DEFAULT_TORCH}, as `envbuilder init` proposes"),
        (["pytorch"], f"does not say a version of torch: {DEFAULT_TORCH}, as `envbuilder init` proposes"),
    ],
)
def test_a_torch_that_is_not_said(specs: list[str], why: str) -> None:
    found = chosen(*specs)
    assert (found.torch, found.cuda) == (DEFAULT_TORCH, "cpu")
    assert found.remarks[0].why == why


def test_a_cuda_that_is_not_said() -> None:
    found = chosen("pytorch=2.7.1")
    assert [one.why for one in found.remarks] == ["does not say a CUDA: cuda: cpu; --cuda says another"]


def test_a_persons_own_choice_counts() -> None:
    found = chosen("pytorch=2.7.1", "cudatoolkit=11.8", torch="2.6.0", cuda="cu124")
    assert (found.torch, found.cuda) == ("2.6.0", "cu124")
    assert [one.why for one in found.remarks] == ["said by cuda: cu124"]


@pytest.mark.parametrize(
    ("wheel", "variant", "torch", "cuda"),
    [
        ("torch==2.7.1", None, "2.7.1", "pypi"),
        ("torch==2.7.1", "cu126", "2.7.1", "cu126"),
        ("torch==2.7.1+cu128", "cu126", "2.7.1", "cu128"),
        (
            "torch @ https://download.pytorch.org/whl/cu126/torch-2.7.1%2Bcu126-cp311-cp311-linux_x86_64.whl",
            None,
            "2.7.1",
            "cu126",
        ),
        ("torch @ git+https://example.org/torch", None, DEFAULT_TORCH, "pypi"),
        ("torch===nonsense", None, DEFAULT_TORCH, "pypi"),
    ],
)
def test_of_a_wheel(wheel: str, variant: str | None, torch: str, cuda: str) -> None:
    found = chosen(wheel=wheel, variant=variant)
    assert (found.torch, found.cuda) == (torch, cuda)
    assert found.remarks[-1].why == f'said by torch: "{torch}" and cuda: {cuda}'


def test_of_a_wheel_of_many_versions() -> None:
    assert chosen(wheel="torch>=2.5,<2.7").torch.startswith("2.6.")


@pytest.mark.parametrize(
    ("text", "release", "python", "remark"),
    [
        ("python=3.12", "25.06", None, None),
        ("python", "25.06", None, None),
        ("python=3.12.4", "25.06", None, 'said by python: "3.12"; the lock names the whole version'),
        ("python=3.11", "pytriton-0.7.0", "3.11", None),
        ("python=3.9", "25.06", None, "Triton 25.06 has a stub for 3.12 only: 3.12 taken"),
        (
            "python>=3.10,<3.12",
            "pytriton-0.7.0",
            "3.11",
            'said by python: "3.11"; the lock names the whole version',
        ),
    ],
)
def test_python(text: str, release: str, python: str | None, remark: str | None) -> None:
    found, remarks = choose_python(spec(text), find_release(release), "2.7.1", None)
    assert found == python
    assert [one.why for one in remarks] == ([remark] if remark else [])


def test_python_of_a_person() -> None:
    assert choose_python(spec("python=3.9"), find_release("pytriton-0.7.0"), "2.7.1", "3.10") == ("3.10", [])
    assert choose_python(None, find_release("pytriton-0.7.0"), "2.7.1", None) == (None, [])
