"""The verbs that measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from envbuilder import api
from envbuilder.cli.options import archive_argument, open_session, shared_options, sources_option
from envbuilder.cli.output import out
from envbuilder.cli.terminal import show_table


@click.group()
def bench() -> None:
    """Measure on this machine.

    What a deployment costs where it runs: in figures, for machines with --json, and drawn with --plot.
    """


@bench.command("start")
@archive_argument
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A model directory. May be given several times. Default: three samples.",
)
@click.option("--precompiled-only", is_flag=True, help="Leave out what is compiled when it is served.")
@click.option(
    "--rounds", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Starts of each kind."
)
@click.option(
    "--tritonserver",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The server to start. Default: one on PATH, or the one in the nvidia-pytriton wheel.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it: FILE.svg, or FILE.png (with Pillow).",
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
    """Measure from the start of a server to the first right answer.

    A real server is started, and started again, on a baseline (the same environment packed by conda-pack without
    bytecode, and a model file that imports torch at its top and compiles at the first request), on the archive, and
    on the archive unpacked; compiled ahead of time and not. The time is split, and every run of a compiler counted.
    """
    from envbuilder.bench.start import HEADINGS

    starts = api.bench_start(
        archive,
        models,
        uncompiled=not precompiled_only,
        session=open_session(quiet=quiet or as_json, find_links=find_links),
        **options,
    )
    if plot is not None:
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
