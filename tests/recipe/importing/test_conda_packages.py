from __future__ import annotations

import json
from pathlib import Path

from tests.recipe.importing.conftest import dependencies, imported

TORCH = "pytorch=2.7.1", "cpuonly"


def test_channels(tmp_path: Path) -> None:
    channels = (
        "nodefaults",
        "conda-forge",
        "defaults",
        "https://conda.anaconda.org/conda-forge",
        "https://me:secret@example.org/own",
        "./here",
    )
    values, said = imported(tmp_path, dependencies(*TORCH, channels=channels), triton="25.06")
    assert values["channels"] == ["conda-forge", "https://example.org/own", "../here"]
    assert said[:4] == [
        "4: defaults: its terms of service bind companies: name it with `anaconda-terms: accepted` if you may use it",
        "5: https://conda.anaconda.org/conda-forge: there is a channel conda-forge already",
        "6: https://example.org/own: without its password or token, which belongs in .netrc or the conda "
        "configuration",
        '9: pytorch=2.7.1: torch: "2.7.1", cuda: cpu',
    ]
    assert "secret" not in json.dumps([values, said])


def test_an_address_that_is_none(tmp_path: Path) -> None:
    text = dependencies("ffmpeg", channels=("conda-forge", "https://[e"))
    values, said = imported(tmp_path, text, triton="25.06")
    assert values["channels"] == ["conda-forge"]
    assert "3: https://[e: not a channel: Invalid IPv6 URL" in said


def test_a_file_without_channels(tmp_path: Path) -> None:
    values, said = imported(tmp_path, "dependencies: [numpy]\n", triton="25.06")
    assert values["channels"] == ["conda-forge"]
    assert any("names no channel that can be used as it is: channels: [conda-forge]" in line for line in said)


def test_pytorchs_own_channel_has_ended(tmp_path: Path) -> None:
    text = dependencies(
        "pytorch=2.7.1",
        "pytorch-cuda=12.6",
        "torchvision=0.22.1",
        "torchaudio 2.7.0|2.7.1",
        channels=("pytorch", "conda-forge"),
    )
    values, said = imported(tmp_path, text, triton="25.06")
    assert (values["torch"], values["cuda"]) == ("2.7.1", "cu126")
    assert values["dependencies"] == ["torchvision==0.22.1", "torchaudio"]
    assert "conda" not in values
    assert any(line.endswith("(PyTorch's own wheel)") for line in said)
    assert any(line.endswith("a wheel, in the version that torch requires") for line in said)
    values, _ = imported(tmp_path, dependencies("pytorch::pytorch=2.7.1"), triton="25.06")
    assert "conda" not in values


def test_packages(tmp_path: Path) -> None:
    text = dependencies(
        *TORCH,
        "numpy=1.26.4=py39h_0",
        "bioconda::samtools",
        "defaults::libx",
        "__glibc>=2.17",
        "numpy >=>1",
        "gxx=13",
    )
    values, said = imported(tmp_path, text, triton="25.06")
    assert values["conda"] == ["pytorch", "numpy ==1.26.4", "bioconda::samtools", "libx", "gxx=13"]
    assert values["channels"] == ["conda-forge", "bioconda"]
    assert values["compiler"] == "bundled"
    assert [line for line in said if "torch" not in line and "cpuonly" not in line] == [
        "6: numpy=1.26.4=py39h_0: numpy ==1.26.4, without its build, which is not for Python 3.12",
        "8: defaults::libx: libx, from the channels of the recipe",
        "9: __glibc>=2.17: a virtual package: what the server's image has decides",
        next(line for line in said if line.startswith("10: numpy >=>1: invalid match spec: ")),
    ]


def test_a_wheel_of_torch_counts(tmp_path: Path) -> None:
    text = dependencies("pip: [torch==2.7.1, x]")
    values, _ = imported(tmp_path, text, triton="25.06")
    assert (values["torch"], values["cuda"], values["dependencies"]) == ("2.7.1", "pypi", ["x"])


def test_what_is_built_with_torch_from_conda_and_from_pip(tmp_path: Path) -> None:
    """pip replaces conda's torchvision, which no environment has twice."""
    text = dependencies("python=3.11", "torchvision=0.16.0", "pip: [torchvision==0.17.0]")
    values, said = imported(tmp_path, text)
    assert (values["torch"], values["cuda"], values["dependencies"]) == (
        "2.2.0",
        "pypi",
        ["torchvision==0.17.0"],
    )
    assert (
        "5: torchvision=0.16.0: clash: pip replaces it by torchvision==0.17.0, "
        "which is what that environment ended with"
    ) in said
    text = dependencies(*TORCH, "torchvision=0.22.1", "pip: [torchvision>=0.20]")
    values, said = imported(tmp_path, text, triton="25.06")
    assert "conda" in values
    assert (
        "7: torchvision>=0.20: clash: pip leaves conda's torchvision=0.22.1 in place, which satisfies it"
        in said
    )


def test_all_lines_of_pip_count(tmp_path: Path) -> None:
    text = dependencies(*TORCH, "six=1.16.0", "pip: [six==1.17.0, six<2]")
    values, said = imported(tmp_path, text, triton="25.06")
    assert values["dependencies"] == ["six==1.17.0", "six<2"]
    assert any("six=1.16.0: clash: pip replaces it by six==1.17.0" in line for line in said)


def test_parts_of_torch_come_with_its_wheel(tmp_path: Path) -> None:
    text = dependencies(
        "pytorch=2.1.0=py3.11_cuda12.1_cudnn8.9.2_0",
        "pytorch-mutex=1.0=cuda",
        "torchtriton=2.1.0=py311",
        "ffmpeg",
        channels=("pytorch", "conda-forge"),
    )
    values, said = imported(tmp_path, text)
    assert (values["cuda"], values["conda"]) == ("cu121", ["ffmpeg"])
    assert "6: pytorch-mutex=1.0=cuda: cuda: cu121" in said
    assert "7: torchtriton=2.1.0=py311: torch's wheel contains it, or brings it along" in said
    values, _ = imported(tmp_path, dependencies("pytorch=2.7.1", "cpuonly", "triton"), triton="25.06")
    assert values["conda"] == ["pytorch", "triton"], "conda's torch needs it"
