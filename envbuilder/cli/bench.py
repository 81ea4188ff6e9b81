"""Commands that measure: ``bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from envbuilder.cli.options import archive_argument, open_session, shared_options, sources_option
from envbuilder.cli.output import check_output, out
from envbuilder.cli.tables import show_table


@click.group()
def bench() -> None:
    """Run benchmarks on this machine.

    The cost of a deployment on the machine that serves it: as a table, as JSON (--json), or as a chart (--plot).
    """


@bench.command("start")
@archive_argument
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A model directory. Repeatable. Default: three sample models.",
)
@click.option("--precompiled-only", is_flag=True, help="Skip models that are compiled while serving.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    metavar="N",
    help="How often to start each configuration.",
)
@click.option(
    "--tritonserver",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The server to start. Default: tritonserver on PATH, else the one in the nvidia-pytriton wheel.",
)
@click.option(
    "--mounted-at",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the archive's image is mounted: measure it from there, too.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a chart: FILE.svg, or FILE.png (requires Pillow).",
)
@sources_option
@shared_options
def bench_start(
    archive: Path,
    models: Sequence[Path],
    precompiled_only: bool,
    plot: Path | None,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure the time from starting a server to its first correct answer.

    A real server is started and restarted with a baseline (the same environment packed by conda-pack without
    bytecode, and a model file that imports torch at its top and compiles at the first request), with the archive, and
    with the unpacked archive; each compiled ahead of time and not. The time is broken down by phase, and compiler runs
    are counted.
    """
    from envbuilder import api
    from envbuilder.bench.start import HEADINGS

    starts = api.bench_start(
        archive,
        models,
        uncompiled=not precompiled_only,
        session=open_session(quiet=quiet or as_json, find_links=find_links),
        **options,
    )
    if plot is not None:
        check_output(plot)
        api.plot_starts(starts, plot)
    if as_json:
        out(starts, True)
        return
    show_table(HEADINGS, starts.rows())
    click.echo()
    for line in starts.lines():
        click.echo(line)
    if plot is not None:
        click.echo(f"drawn: {plot}")
