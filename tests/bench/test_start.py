"""What follows from starts that were measured, as a table, as JSON and drawn."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from envbuilder import api
from envbuilder.bench.chart import draw_starts, plot_starts
from envbuilder.bench.start import HEADINGS, Start, Starts, summed
from envbuilder.bench.timeline import PHASES
from envbuilder.cli import cli


def start(deployment: str, precompiled: bool, restart: bool, seconds: float, **rest: Any) -> Start:
    phases = {phase: seconds / len(PHASES) for phase in PHASES}
    values = {"compilations": 0, "difference": 0.0, **rest}
    return Start(
        deployment=deployment,
        precompiled=precompiled,
        restart=restart,
        seconds=seconds,
        phases=phases,
        **values,
    )


def measured() -> Starts:
    starts = [
        start("baseline", False, False, 30.0, compilations=9, difference=2e-6),
        start("baseline", False, True, 24.0, compilations=7, difference=2e-6),
        start("archive", True, False, 6.0, difference=1e-6),
        start("archive", True, True, 5.0, difference=1e-6),
        start("unpacked", True, False, 3.0, difference=1e-6),
        start("unpacked", True, True, 2.5, compilations=1, difference=1e-6),
        start("baseline", False, False, 31.0, compilations=9, difference=2e-6),
        start("archive", True, False, 16.0, difference=1e-6),
    ]
    return Starts(archive="cpu.tar.gz", server="a server", models=(summed("mlp", starts),))


def test_the_ratios() -> None:
    (model,) = measured().models
    assert (model.archive_ratio, model.unpacked_ratio) == (5.0, 10.0)
    assert model.compiles_on_restart == 1
    assert (model.difference_precompiled, model.difference_compiled) == (1e-6, 2e-6)


def test_the_table_has_a_cell_for_each_heading() -> None:
    rows = list(measured().rows())
    assert {len(row) for row in rows} == {len(HEADINGS)}
    assert rows[0][:5] == ("mlp", "baseline", "when served", "first", "30.0")
    assert list(measured().lines()) == [
        "mlp: archive 5.0 times as fast as the baseline, unpacked 10.0 times; compilers run in restarts: 1; "
        "from eager: precompiled 1e-06, torch.compile 2e-06"
    ]


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def bench_start(archive: Path, models: Any, **options: Any) -> Starts:
        asked.update(options, archive=archive, models=list(models))
        return measured()

    monkeypatch.setattr(api, "bench_start", bench_start)
    monkeypatch.chdir(tmp_path)
    Path("a.tar.gz").touch()
    command = ["bench", "start", "a.tar.gz", "--model", "m", "--precompiled-only", "-q"]
    text = CliRunner().invoke(cli, [*command, "--plot", "start.svg"])
    assert text.exit_code == 0, text.output
    assert "baseline" in text.stdout
    assert "drawn: start.svg" in text.stdout
    assert (asked["models"], asked["uncompiled"], asked["rounds"]) == ([Path("m")], False, 2)
    said = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    (model,) = said["models"]
    keys = ("archive_ratio", "unpacked_ratio", "compiles_on_restart")
    assert [model[key] for key in keys] == [5.0, 10.0, 1]
    assert model["starts"][0]["phases"].keys() == set(PHASES)


def test_the_picture(tmp_path: Path) -> None:
    """A bar's parts stand side by side, as long as their seconds, in one scale for all."""
    plot_starts(measured(), tmp_path / "start.svg")
    root = xml.etree.ElementTree.parse(tmp_path / "start.svg").getroot()
    said = " ".join(root.itertext())
    assert "baseline, first" in said
    assert "unpacked, precompiled, again" in said
    parts = [box for box in draw_starts(measured()) if box.tip]
    bars = [parts[i : i + len(PHASES)] for i in range(0, len(parts), len(PHASES))]
    lengths = [sum(box.width for box in bar) for bar in bars]
    assert lengths[0] / lengths[2] == pytest.approx(30.0 / 6.0)
    for bar in bars:
        for box, following in itertools.pairwise(bar):
            assert box.x + box.width == pytest.approx(following.x)
    right = max(box.x + box.width for box in parts)
    assert right < 1200
    plot_starts(measured(), tmp_path / "start.png")
    assert (tmp_path / "start.png").read_bytes().startswith(b"\x89PNG")
