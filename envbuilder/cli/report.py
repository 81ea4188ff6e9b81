"""A page about an archive: ``report``."""

from __future__ import annotations

from pathlib import Path

import click

from envbuilder.cli.options import archive_argument, shared_options
from envbuilder.cli.output import out, write_file
from envbuilder.cli.terminal import make_reporter

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@archive_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file to write. Default: ARCHIVE.html, next to the archive.",
)
@click.option(
    "--report", type=_FILE, metavar="FILE", help="Its verification report, as written by `verify --report`."
)
@click.option(
    "--advisories",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="A folder or archive of OSV records to check its packages against.",
)
@click.option(
    "--against", type=_FILE, metavar="ARCHIVE", help="A previous archive: the page shows what changed since."
)
@shared_options
def report(
    archive: Path,
    output: Path | None,
    report: Path | None,
    advisories: Path | None,
    against: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a page about an archive, for a browser.

    One self-contained HTML file without scripts: result and checks of a verification, sizes as a clickable treemap,
    packages with licence, advisories and origin, what was excluded, and what changed.
    """
    from envbuilder import api

    page = api.report(
        archive,
        verification=report,
        advisories=advisories,
        against=against,
        reporter=make_reporter(quiet=quiet or as_json),
    )
    path = output or archive.with_name(f"{archive.name}.html")
    write_file(path, page)
    out({"page": path}, as_json, f"{path}: open it in a browser")
