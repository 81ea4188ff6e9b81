from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from envbuilder import api
from envbuilder.bench.start import Starts
from envbuilder.bench.timeline import PHASES
from envbuilder.cli import cli
from tests.bench.conftest import measured


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def bench_start(archive: Path, models: Any, **options: Any) -> Starts:
        asked.update(options, archive=archive, models=list(models))
        return measured()

    monkeypatch.setattr(api, "bench_start", bench_start)
    monkeypatch.chdir(tmp_path)
    Path("a.tar.gz").touch()
    command = ["bench", "start", "a.tar.gz", "--model", "m", "--precompiled-only", "-q", "--mounted-at", "d"]
    text = CliRunner().invoke(cli, [*command, "--plot", "start.svg"])
    assert text.exit_code == 0, text.output
    assert "baseline" in text.stdout
    assert "drawn: start.svg" in text.stdout
    assert (asked["models"], asked["uncompiled"], asked["rounds"]) == ([Path("m")], False, 2)
    assert asked["mounted_at"] == Path("d")
    said = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    (model,) = said["models"]
    keys = ("archive_ratio", "unpacked_ratio", "compiles_on_restart")
    assert [model[key] for key in keys] == [5.0, 10.0, 1]
    assert model["starts"][0]["phases"].keys() == set(PHASES)
