"""Images: ``image``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from envbuilder.cli.options import open_session, shared_options, sources_option
from envbuilder.cli.output import out, suggest
from envbuilder.util.text import counted, human


@click.command()
@click.argument("what", metavar="RECIPE|ARCHIVE...", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    metavar="DIR|FILE.oci.tar",
    type=click.Path(path_type=Path),
    help="The image layout; an existing layout is extended. Default: NAME-DIGEST.oci, next to the archive.",
)
@click.option("--name", metavar="NAME", help="The name of the image in the layout. Default: its recipe's.")
@click.option(
    "--estargz",
    is_flag=True,
    help="Add an eStargz table of contents to each layer, for lazy pulling by containerd's stargz snapshotter.",
)
@sources_option
@shared_options
def image(
    what: Sequence[str],
    output: Path | None,
    name: str | None,
    estargz: bool,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the OCI image of an environment.

    There is a layer for the interpreter, for each large wheel, for groups of small wheels, and for the environment's
    own files. The root of the image is the environment's prefix, so it works wherever it is mounted. The same archive
    gives the same digest on every machine, and environments share identical layers. A RECIPE is built first if needed.
    Several archives make a multi-platform image with an index.
    """
    from envbuilder import api
    from envbuilder.api.stores import find_pushed
    from envbuilder.archive.called import ENVS

    report = api.image(
        [find_pushed(one, ENVS) for one in what],
        output=output,
        name=name,
        estargz=estargz,
        session=open_session(quiet=quiet or as_json, find_links=find_links),
    )
    if as_json:
        out(report, True)
        return
    click.echo(f"{report.path}: {report.name}, {', '.join(report.platforms)}")
    click.echo(f"  {counted(report.layers, 'layer')}, {human(report.size)}, {human(report.written)} written")
    click.echo(f"  {report.digest}")
    suggest("envbuilder", "push", report.path, "oci://HOST/REPOSITORY:TAG", quiet=quiet)
