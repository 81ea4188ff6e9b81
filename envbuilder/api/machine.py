"""Diagnose and measure this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.store.session import Session
from envbuilder.util.files import StrPath, optional_path

if TYPE_CHECKING:
    from envbuilder.bench.start import Starts
    from envbuilder.demo.quickstart import Quickstart
    from envbuilder.diagnosis.diagnose import Diagnosis


def doctor(recipes: Sequence[str] = (), *, session: Session | None = None) -> Diagnosis:
    """Diagnose this machine, see :func:`envbuilder.diagnosis.diagnose.doctor`."""
    from envbuilder.diagnosis.diagnose import doctor as diagnose
    from envbuilder.recipe.load import load_recipes

    folder = Path.cwd()
    loaded = load_recipes(recipes, folder) if recipes or (folder / "recipes").is_dir() else []
    return diagnose(loaded, (session or Session.open()).at(folder, remote=False))


def quickstart(*, keep: StrPath | None = None, session: Session | None = None) -> Quickstart:
    """Run the whole pipeline on the shipped recipe, see :func:`envbuilder.demo.quickstart.quickstart`."""
    from envbuilder.demo.quickstart import quickstart as run_quickstart

    return run_quickstart(session or Session.open(), keep=optional_path(keep))


def bench_start(
    archive: StrPath,
    models: Sequence[StrPath] = (),
    *,
    uncompiled: bool = True,
    rounds: int = 2,
    tritonserver: StrPath | None = None,
    mounted_at: StrPath | None = None,
    session: Session | None = None,
) -> Starts:
    """Measure how fast servers start, see :func:`envbuilder.bench.start.measure_starts`; without *models* samples."""
    from envbuilder.bench.start import StartChoice, measure_starts
    from envbuilder.util.resources import sample_models
    from envbuilder.verification.server.tritonserver import find_server

    session = (session or Session.open()).at(Path.cwd(), remote=False)
    server = find_server(optional_path(tritonserver), session)
    with session.store.scratch("bench") as scratch:
        return measure_starts(
            Path(archive).absolute(),
            [Path(model).absolute() for model in models] or sample_models(),
            scratch,
            server=server,
            choice=StartChoice(
                uncompiled=uncompiled,
                rounds=rounds,
                mounted_at=None if mounted_at is None else Path(mounted_at).absolute(),
            ),
            reporter=session.reporter,
        )


def plot_starts(starts: Starts, path: StrPath) -> None:
    """Draw the measured starts, see :func:`envbuilder.bench.chart.plot_starts`."""
    from envbuilder.bench.chart import plot_starts as plot

    plot(starts, Path(path))
