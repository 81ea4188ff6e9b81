"""What changed: ``diff``."""

from __future__ import annotations

import click

from envbuilder.cli.options import shared_options
from envbuilder.cli.output import out
from envbuilder.cli.tables import show_table
from envbuilder.cli.terminal import make_reporter


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@shared_options
def diff(before: str, after: str, markdown: bool, as_json: bool, quiet: bool) -> None:
    """Show what changed from A to B.

    Both are recipes (a name in recipes/ or a path), or locks (.toml), or archives. Shows packages added, removed and
    changed, sizes, files, and the requirements on the machine: glibc, GLIBCXX, NVIDIA driver. For an archive, its
    manifest is read.
    """
    from envbuilder import api

    if markdown and as_json:
        raise click.UsageError("--markdown cannot be combined with --json")
    difference = api.diff(before, after, reporter=make_reporter(quiet=quiet or as_json))
    if as_json:
        out(difference, True)
    elif markdown:
        click.echo(difference.markdown(), nl=False)
    elif difference.is_empty:
        click.echo("no difference")
    else:
        for title, headings, rows in difference.tables():
            click.echo(title)
            show_table(headings, rows)
            click.echo()
