"""The store elsewhere: ``push``, ``pull`` and ``alias``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envbuilder import api
from envbuilder.api.stores import find_pushed
from envbuilder.cli.options import open_session, shared_options, sources_option
from envbuilder.cli.output import out
from envbuilder.cli.terminal import show_table
from envbuilder.util.text import counted, human

if TYPE_CHECKING:
    from envbuilder.transfer.archives import Transfer

_output_option = click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("envs"),
    show_default=True,
    help="Where archives go.",
)


@click.command()
@click.argument("what", metavar="RECIPE|ARCHIVE")
@_output_option
@click.option(
    "--interpreter-change",
    is_flag=True,
    help="Take this machine's CPython where it is not the locked one; the archive's bytes are others then.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep this report of `envbuilder verify --report FILE` with the archive. May be given several times.",
)
@sources_option
@shared_options
def push(
    what: str,
    output: Path,
    interpreter_change: bool,
    reports: Sequence[Path],
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Upload an archive, or a recipe's, to the store elsewhere.

    The store is `store = "s3://…"` in envbuilder.toml, or ENVBUILDER_STORE. Of an ARCHIVE (a file, or the name or
    digest of one in DIR) its manifest and the provenance beside it go along; a RECIPE (a name in recipes/, or a path)
    is built where it is not, and its artifacts and segments go along, so that other machines build from them without a
    package index. What is there already is not uploaded again. What is uploaded is signed with the private key in the
    file that ENVBUILDER_STORE_KEY names: others take it where `store-trust` names its public key.
    """
    transfer = api.push(
        find_pushed(what, output),
        output=output,
        interpreter_change=interpreter_change,
        reports=reports,
        session=open_session(quiet=quiet or as_json, find_links=find_links),
    )
    done = f"{counted(len(transfer.sent), 'object')} uploaded, {transfer.there} already there"
    _print_transfer(transfer, as_json, done)


@click.command()
@click.argument("what", metavar="RECIPE|ARCHIVE")
@_output_option
@shared_options
def pull(what: str, output: Path, as_json: bool, quiet: bool) -> None:
    """Bring an archive from the store elsewhere.

    WHAT is an archive's name (resnet-0123456789ab.tar.gz), the first twelve or more characters of its sha256, an alias
    (resnet:stable), or a RECIPE: the archive that was built of its lock. Its manifest, its reports and its provenance
    come along. Only what one of the public keys in `store-trust` of envbuilder.toml signed is taken, and only where it
    is of the recipe, the lock and the release that were asked for.
    """
    transfer = api.pull(what, output=output, session=open_session(quiet=quiet or as_json))
    _print_transfer(transfer, as_json, "brought here" if transfer.sent else "already here")


def _print_transfer(transfer: Transfer, as_json: bool, done: str) -> None:
    if as_json:
        out(transfer, True)
        return
    click.echo(f"{transfer.archive}: {done}")
    click.echo(f"  {human(transfer.size)}, sha256 {transfer.sha256}")
    click.echo(f"  store {transfer.store}")
    for report in transfer.reports:
        click.echo(f"  report {report}")
    for provenance in transfer.provenances:
        click.echo(f"  provenance {provenance}")


@click.command()
@click.argument("name")
@click.argument("archive", required=False)
@click.option("--back", is_flag=True, help="Point it to the archive that it pointed to before.")
@shared_options
def alias(name: str, archive: str | None, back: bool, as_json: bool, quiet: bool) -> None:
    """Show or move an alias.

    NAME is RECIPE:WORD, for instance resnet:stable. ARCHIVE is the name of an archive in the store elsewhere, its
    digest, or another alias; without it, the moves of the alias are shown, the last one first. An alias moves in one
    step, and of two who move it at the same time one is refused.
    """
    if back and archive is not None:
        raise click.UsageError("--back names the archive: no ARCHIVE with it")
    found = api.alias(name, archive, back=back, session=open_session(quiet=quiet or as_json))
    if as_json:
        out(found, True)
        return
    if found.sha256 is None:
        click.echo(f"{name} points to nothing")
        return
    click.echo(f"{name} points to {found.sha256}")
    show_table(["move", "sha256", "when"], [(str(m.number), m.sha256, m.time) for m in reversed(found.moves)])
