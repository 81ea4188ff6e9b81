from __future__ import annotations

import itertools
import xml.etree.ElementTree
from pathlib import Path

import pytest

from envbuilder.bench.chart import draw_starts, plot_starts
from envbuilder.bench.timeline import PHASES
from tests.bench.conftest import measured


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
