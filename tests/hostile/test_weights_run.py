"""Weights that would run code, through the verbs that load a model in the packed interpreter."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from envbuilder.cli import cli
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from tests.deployment.conftest import CONFIG
from tests.hostile.test_pickles import PICKLES, Calls, zipped

pytestmark = [pytest.mark.torch, pytest.mark.slow]

MODEL = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return {"y": x + self.w}
"""


def write_model(folder: Path, name: str, data: bytes) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (folder / "1" / "model.py").write_text(MODEL)
    (folder / "1" / name).write_bytes(data)
    if name.endswith("-of-00001.bin"):
        index = {"metadata": {}, "weight_map": {"w": name}}
        (folder / "1" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [*map(str, arguments), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_compile_runs_nothing_of_them(cpu_archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    names = ["model.pt", "pytorch_model-00001-of-00001.bin"]
    for number, name in enumerate(names):
        payload = [*PICKLES.values()][number % len(PICKLES)](marker)
        model = write_model(tmp_path / f"net{number}", name, zipped(payload))
        options = DeployOptions(layout="shared", unpacked=True)
        deployed = deploy(cpu_archive, model, tmp_path / "repository", options).folder
        result = call("compile", deployed)
        assert result.exit_code == 8, (name, result.output)
        assert f"{name} wants " in result.output, (name, result.output)
        assert "while it is unpickled" in result.output
        assert not marker.exists(), name


def test_verify_runs_nothing_of_them(cpu_archive: Path, tmp_path: Path) -> None:
    """Out of its sandbox no mark could be left: code that is run ends the process with a number of its own."""
    data = zipped(pickle.dumps({"w": Calls(os._exit, 77)}, 2))
    model = write_model(tmp_path / "net", "model.pt", data)
    report = tmp_path / "report.json"
    result = call("verify", cpu_archive, "--model", model, "--no-server", "--report", report)
    assert result.exit_code == 7, result.output
    (check,) = [one for one in json.loads(report.read_text())["checks"] if one["id"] == "probe.model"]
    assert check["status"] == "failed"
    assert "77" not in check["found"]
    assert "model.pt" in check["found"]
