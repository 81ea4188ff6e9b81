"""torch, its CUDA build, and Python, out of what conda users write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from envbuilder.catalog.torch import find_build, table
from envbuilder.recipe.importing.torch import choose_torch
from envbuilder.recipe.importing.torch_choice import TorchChoice
from envbuilder.recipe.template import DEFAULT_TORCH
from tests.recipe.importing.conftest import lines_and_specs, spec


def chosen(
    *specs: str,
    pip: Sequence[str] = (),
    torch: str | None = None,
    cuda: str | None = None,
    named: str | None = None,
) -> TorchChoice:
    found = lines_and_specs(*pip, conda=bool(specs), cuda=named)
    return choose_torch(found, [spec(text) for text in specs], python="3.11", torch=torch, cuda=cuda)


def said(choice: TorchChoice) -> list[str]:
    return [f"{one.fate}: {one.text}: {one.why}" for one in choice.remarks]


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
        (["ffmpeg"], f'does not mention torch: torch: "{DEFAULT_TORCH}"; choose another with --torch'),
        (["pytorch"], f'sets no version of torch: torch: "{DEFAULT_TORCH}"; choose another with --torch'),
    ],
)
def test_a_torch_that_is_not_said(specs: list[str], why: str) -> None:
    found = chosen(*specs)
    assert (found.torch, found.cuda) == (DEFAULT_TORCH, "cpu")
    assert found.remarks[0].why == why


def test_a_cuda_that_is_not_said() -> None:
    found = chosen("pytorch=2.7.1")
    assert [one.why for one in found.remarks] == [
        "sets no CUDA version: cuda: cpu; choose another with --cuda"
    ]


def test_a_persons_own_choice_counts() -> None:
    found = chosen("pytorch=2.7.1", "cudatoolkit=11.8", torch="2.6.0", cuda="cu124")
    assert (found.torch, found.cuda) == ("2.6.0", "cu124")
    assert said(found) == ["changed: cudatoolkit=11.8: clash: cuda: cu124 is taken instead"]


CU126 = "--index-url https://download.pytorch.org/whl/cu126"


@pytest.mark.parametrize(
    ("lines", "torch", "cuda"),
    [
        (["torch==2.7.1"], "2.7.1", "pypi"),
        (["torch==2.7.1", CU126], "2.7.1", "cu126"),
        (["torch==2.7.1+cu128", CU126], "2.7.1", "cu128"),
        (
            [
                "torch @ https://download.pytorch.org/whl/cu126/torch-2.7.1%2Bcu126-cp311-cp311-linux_x86_64.whl"
            ],
            "2.7.1",
            "cu126",
        ),
        (["torch==2.7.1 --index-url https://download.pytorch.org/whl/cu118"], "2.7.1", "cu118"),
        (["torch @ git+https://example.org/torch"], DEFAULT_TORCH, "pypi"),
        (["torch===nonsense"], DEFAULT_TORCH, "pypi"),
        (["torch", "torchvision==0.20.1"], "2.5.1", "pypi"),
        (["torchvision==0.20.1+cu121"], "2.5.1", "cu121"),
        (["torchaudio==2.6.0", CU126], "2.6.0", "cu126"),
        (["torchvision"], DEFAULT_TORCH, "pypi"),
        (["scikit-learn"], DEFAULT_TORCH, "cpu"),
    ],
)
def test_of_pip(lines: list[str], torch: str, cuda: str) -> None:
    found = chosen(pip=lines)
    assert (found.torch, found.cuda, found.from_pip) == (torch, cuda, True)


def test_of_a_wheel_of_many_versions() -> None:
    assert chosen(pip=["torch>=2.5,<2.7"]).torch.startswith("2.6.")


def test_pip_leaves_the_torch_of_conda_in_place_where_it_fulfils_the_requirement() -> None:
    found = chosen("pytorch=2.5.1", "cpuonly", pip=["torch>=2.4"])
    assert (found.torch, found.cuda, found.from_pip) == ("2.5.1", "cpu", False)
    assert said(found) == [
        "changed: torch>=2.4: pytorch=2.5.1 satisfies it: pip leaves that in place",
        "changed: cpuonly: cuda: cpu",
    ]


def test_pip_replaces_another_torch_of_conda() -> None:
    found = chosen("pytorch=2.5.1", "cpuonly", pip=["torch==2.7.1"])
    assert (found.torch, found.cuda, found.from_pip) == ("2.7.1", "pypi", True)
    assert said(found) == [
        'changed: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "left out: pytorch=2.5.1: clash: pip replaces it by torch==2.7.1, which is what that environment ended with",
        "left out: cpuonly: it is for conda's torch; pip's has its own CUDA (cuda: pypi): --cuda takes another",
    ]


def test_an_index_that_pip_never_asks_for_torch() -> None:
    found = chosen("pytorch=2.5.1", "cpuonly", pip=[CU126])
    assert (found.torch, found.cuda) == ("2.5.1", "cpu")
    assert said(found)[-1] == (
        f"left out: {CU126}: clash: conda's torch (cpu) is in place first; --cuda cu126 takes the other"
    )


@pytest.mark.parametrize(
    ("named", "cuda", "why"),
    [
        ("12.1", "cu121", "changed: 12.1: cuda: cu121"),
        ("cpu", "cpu", "changed: cpu: cuda: cpu"),
        ("10.2", "pypi", "left out: 10.2: torch 2.5.1 was not built for it (but for cu118, cu121, cu124)"),
    ],
)
def test_a_cuda_that_the_file_names(named: str, cuda: str, why: str) -> None:
    found = chosen(pip=["torch==2.5.1"], named=named)
    assert found.cuda == cuda
    assert why in said(found)


EXTRA = "--extra-index-url https://download.pytorch.org/whl/"
MAIN = "--index-url https://download.pytorch.org/whl/"


@pytest.mark.parametrize(
    ("lines", "torch", "cuda", "index"),
    [
        # pip compares what all indexes have: PyPI's newer torch is taken, and of the same one the local version.
        ([f"{EXTRA}cu121", "torch==2.5.1"], "2.5.1", "cu121", "changed: cuda: cu121"),
        (
            [f"{EXTRA}cu121", "torch==2.9.0"],
            "2.9.0",
            "pypi",
            "it has no torch 2.9.0: pip takes that from elsewhere",
        ),
        (
            [f"{EXTRA}cu121", "torch"],
            table()[-1].version,
            "pypi",
            "pip takes that from elsewhere (cuda: pypi)",
        ),
        (
            [f"{EXTRA}cu118", "torch<2.6", f"{EXTRA}cu124"],
            "2.5.1",
            "cu124",
            "torch itself is asked for as cu124",
        ),
        # Where it asks PyTorch's index alone, what that has is all that there is.
        ([f"{MAIN}cu121", "torch"], "2.5.1", "cu121", "changed: cuda: cu121"),
        ([f"{MAIN}cu121", "torch==2.9.0"], "2.9.0", "pypi", "it has no torch 2.9.0: cuda: pypi is taken"),
        ([f"{MAIN}rocm6.3", "torch==2.9.0"], "2.9.0", "pypi", "Triton's servers have CUDA, not rocm6.3"),
        (
            [f"{MAIN}nightly/cu126", "--pre", "torch"],
            table()[-1].version,
            "pypi",
            "nightly builds do not stay",
        ),
    ],
)
def test_an_index_of_pytorchs(lines: list[str], torch: str, cuda: str, index: str) -> None:
    found = chosen(pip=lines)
    assert (found.torch, found.cuda) == (torch, cuda)
    (line,) = [one for one in said(found) if lines[0] in one]
    assert index.removeprefix("changed: ") in line
    assert ("clash: " in line) == (not index.startswith("changed"))


@pytest.mark.parametrize(
    ("line", "torch", "cuda", "clash"),
    [
        (
            "torch==1.13.1+rocm5.2",
            "2.0.1",
            "pypi",
            "torch 1.13.1 is older than 2.0.0, the first that recipes can have",
        ),
        ("torch==2.7.1+rocm6.3", "2.7.1", "pypi", "Triton's servers have CUDA, not rocm6.3"),
        ("torch==2.7.1+cu121", "2.7.1", "pypi", "torch 2.7.1 was not built for cu121 (but for cpu, cu118, "),
        ("torch==2.7.9", "2.7.1", "pypi", "there is no torch 2.7.9"),
        ("torch==2.8.0.dev20250601+cu126", "2.8.0", "cu126", "torch 2.8.0.dev20250601 is a nightly build, "),
    ],
)
def test_a_torch_that_no_recipe_can_have(line: str, torch: str, cuda: str, clash: str) -> None:
    found = chosen(pip=[line])
    assert (found.torch, found.cuda) == (torch, cuda)
    assert said(found)[-1].startswith(f"changed: {line}: clash: {clash}")


def test_a_conda_torch_that_no_wheel_is() -> None:
    found = chosen("pytorch=1.13.1", "pytorch-cuda=11.6")
    assert (found.torch, found.cuda) == ("2.0.1", "cu117")
    assert found.summary.startswith("clash: torch 1.13.1 is older than 2.0.0")
    assert chosen("pytorch=1.13").clash == "recipes can have no torch that fits pytorch=1.13"
    found = chosen("pytorch=2.5.1", "cudatoolkit=11.3")
    assert (found.cuda, found.clash) == ("cu118", "PyTorch has no wheel of torch 2.5.1 for cu113")


def test_lines_of_pip_that_ask_for_torch_together() -> None:
    found = chosen(pip=["torch>=2.4", "torch<2.6", "-c limits.txt"])
    assert found.torch == "2.5.1"
    found = chosen(pip=["torch==2.5.1", "torch>=2.6"])
    assert said(found)[-1] == "left out: torch>=2.6: clash: torch==2.5.1 is taken"


def test_what_pip_asks_for_replaces_the_torch_that_it_was_not_built_with() -> None:
    found = chosen("pytorch=2.1.0", "cpuonly", pip=["torchvision==0.17.0"])
    assert (found.torch, found.cuda, found.from_pip) == ("2.2.0", "pypi", True)
    assert said(found)[1].startswith("left out: pytorch=2.1.0: clash: pip replaces it by torch==2.2.0, ")
    found = chosen("ffmpeg", pip=["torchvision==0.17.0"])
    assert (found.torch, found.cuda) == ("2.2.0", "pypi")
