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
