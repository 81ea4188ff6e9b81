"""What is inside an archive: ``sbom``."""

from __future__ import annotations

from pathlib import Path

import click

from envbuilder import verbs
from envbuilder.cli.options import archive_argument, shared_options
from envbuilder.cli.output import out, write_file
from envbuilder.terminal import make_reporter


@click.command()
@archive_argument
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, not to stdout."
)
@shared_options
def sbom(archive: Path, output: Path | None, as_json: bool, quiet: bool) -> None:
    """Say what an archive is made of, in CycloneDX.

    A CycloneDX 1.6 document (JSON), checked against CycloneDX's schema: the interpreter, each wheel and conda package,
    and the packages that lie inside others, with purl, sha256 and licence. All of it is read from the archive. The same
    archive gives the same document.
    """
    text = verbs.sbom(archive, reporter=make_reporter(quiet=quiet or as_json))
    if output is None:
        click.echo(text, nl=False)
        return
    write_file(output, text)
    out({"sbom": output}, as_json, f"wrote {output}")
