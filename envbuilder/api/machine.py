"""Diagnose and measure this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

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


def quickstart(*, keep: Path | None = None, session: Session | None = None) -> Quickstart:
    """Run the whole pipeline on the shipped recipe, see :func:`envbuilder.demo.quickstart.quickstart`."""
    from envbuilder.demo.quickstart import quickstart as run_quickstart

    return run_quickstart(session or Session.open(), keep=keep)


def bench_start(
    archive: StrPath,
    models: Sequence[Path] = (),
    *,
    uncompiled: bool = True,
    rounds: int = 2,
    tritonserver: Path | None = None,
    mounted_at: Path | None = None,
    session: Session | None = None,
) -> Starts:
    """Measure how fast servers start, see :func:`envbuilder.bench.start.measure_starts`; without *models* samples."""
    from envbuilder.bench.start import StartChoice, measure_starts
    from envbuilder.util.resources import sample_models
    from envbuilder.verification.server.tritonserver import find_server

    session = (session or Session.open()).at(Path.cwd(), remote=False)
    server = find_server(tritonserver, session)
    with session.store.scratch("bench") as scratch:
        return measure_starts(
            Path(archive).absolute(),
            [model.absolute() for model in models] or sample_models(),
            scratch,
            server=server,
            choice=StartChoice(
                uncompiled=uncompiled,
                rounds=rounds,
                mounted_at=mounted_at.absolute() if mounted_at is not None else None,
            ),
            reporter=session.reporter,
        )


def plot_starts(starts: Starts, path: Path) -> None:
    """Draw the measured starts, see :func:`envbuilder.bench.chart.plot_starts`."""
    from envbuilder.bench.chart import plot_starts as plot

    plot(starts, path)
