"""What is released: a wheel and an sdist that an index takes, and the wheel alone does all of quickstart."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from uv import find_uv_bin

from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.util.resources import sample_model
from tests.helpers.pages import ROOT, blocks

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the sdist, made of the tracked files alone."""
    folder = tmp_path_factory.mktemp("release")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.rstrip("\0")
    (folder / "source").mkdir()
    subprocess.run(
        ["tar", "--null", "--files-from=-", "-cf", str(folder / "source.tar")],
        cwd=ROOT,
        input=tracked.encode(),
        check=True,
    )
    subprocess.run(["tar", "-xf", str(folder / "source.tar"), "-C", str(folder / "source")], check=True)
    build = [sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(folder / "dist")]
    subprocess.run([*build, str(folder / "source")], check=True, capture_output=True)
    return folder / "dist"


def test_an_index_takes_them(distributions: Path) -> None:
    files = sorted(map(str, distributions.iterdir()))
    assert [Path(file).suffix for file in files] == [".whl", ".gz"]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_what_the_wheel_says_of_itself(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
        assert name.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("BSD-3-Clause", ">=3.10")
    assert metadata.get_all("Project-URL") == [
        "Triton Python backend, https://github.com/triton-inference-server/python_backend"
    ]
    assert set(metadata["Keywords"].split(",")) >= {"triton", "pytorch", "reproducible-builds"}
    minors = re.findall(r"Python :: (3\.\d+)", " ".join(metadata.get_all("Classifier") or []))
    assert minors == [f"3.{minor}" for minor in range(10, 15)]


def test_the_command_of_a_release_is_documented() -> None:
    (command,) = [text for text in blocks(ROOT / "CONTRIBUTING.md", "sh") if "upload" in text]
    steps = [step.strip() for step in command.replace("\\\n", " ").split("&&")]
    assert steps == [
        "rm -rf dist",
        "python -m build",
        "python -m twine check --strict dist/*",
        "python -m twine upload --repository-url URL dist/*",  # never the default: the name is another's there
    ]


@pytest.mark.torch
@pytest.mark.server
@pytest.mark.usefixtures("cpu_archive", "server")  # in the store of this run
def test_the_wheel_alone_does_all_of_quickstart(distributions: Path, store: Store, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    uv, python = find_uv_bin(), str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([uv, "--quiet", "venv", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    subprocess.run([uv, "--quiet", "pip", "install", "--python", python, str(wheel)], check=True)
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "envbuilder"), "quickstart", "--keep", "kept"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), CACHE_VARIABLE: str(store.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    verified, model, *_ = (line for line in said if line.startswith(("verified ", "model ")))
    assert int(verified.split()[1]) > 25
    assert model.endswith("repository/mlp, compiled while it loaded")
    assert (tmp_path / "kept" / "repository" / "mlp" / "config.pbtxt").is_file()
    first = next(number for number, line in enumerate(said) if line.startswith("answer "))
    rows = [[float(value) for value in re.findall(r"[+-][\d.]+", line)] for line in said[first : first + 3]]
    assert np.allclose(np.array(rows), expected_answer()[:, :6], rtol=1e-3, atol=1e-4)


def expected_answer() -> np.ndarray[Any, Any]:
    """What the sample model answers to quickstart's question, computed here."""
    import runpy

    import torch

    model = runpy.run_path(str(sample_model() / "1" / "model.py"))["MLP"]()
    rows = np.random.default_rng(0).standard_normal((3, 128), dtype=np.float32)
    with torch.no_grad():
        answer: np.ndarray[Any, Any] = model(torch.from_numpy(rows)).numpy()
    return answer
