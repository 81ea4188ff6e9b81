"""What follows from starts that were measured, as a table, as JSON and drawn."""

from __future__ import annotations

from envbuilder.bench.start import HEADINGS
from tests.bench.conftest import measured


def test_the_ratios() -> None:
    (model,) = measured().models
    assert (model.archive_ratio, model.unpacked_ratio, model.mounted_ratio) == (5.0, 10.0, None)
    assert measured(mounted=True).models[0].mounted_ratio == 15.0
    assert "unpacked 10.0 times, mounted 15.0 times;" in next(measured(mounted=True).lines())
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
