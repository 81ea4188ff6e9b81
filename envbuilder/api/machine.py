"""This machine: what it can do, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.recipe.load import load_recipes
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.bench.start import Starts
    from envbuilder.demo.quickstart import Quickstart
    from envbuilder.diagnosis.diagnose import Diagnosis


def doctor(recipes: Sequence[str] = (), *, session: Session | None = None) -> Diagnosis:
    """Say what this machine can do, see :func:`envbuilder.diagnosis.diagnose.doctor`."""
    from envbuilder.diagnosis.diagnose import doctor as diagnose

    folder = Path.cwd()
    loaded = load_recipes(recipes, folder) if recipes or (folder / "recipes").is_dir() else []
    return diagnose(loaded, (session or Session.open()).at(folder, remote=False))


def quickstart(*, keep: Path | None = None, session: Session | None = None) -> Quickstart:
    """Go the whole way on an embedded default, see :func:`envbuilder.demo.quickstart.quickstart`."""
    from envbuilder.demo.quickstart import quickstart as run_quickstart

    return run_quickstart(session or Session.open(), keep=keep)


def bench_start(
    archive: StrPath,
    models: Sequence[Path] = (),
    *,
    uncompiled: bool = True,
    rounds: int = 2,
    tritonserver: Path | None = None,
    session: Session | None = None,
) -> Starts:
    """Measure how fast servers start, see :func:`envbuilder.bench.start.measure_starts`; without *models* samples."""
    from envbuilder.bench.start import measure_starts
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
            uncompiled=uncompiled,
            rounds=rounds,
            reporter=session.reporter,
        )


def plot_starts(starts: Starts, path: Path) -> None:
    """Draw starts, see :func:`envbuilder.bench.chart.plot_starts`."""
    from envbuilder.bench.chart import plot_starts as plot

    plot(starts, path)
