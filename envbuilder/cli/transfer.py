"""The remote store: ``push``, ``pull`` and ``alias``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envbuilder.cli.options import open_session, output_option, shared_options, sources_option
from envbuilder.cli.output import out, suggest
from envbuilder.cli.tables import show_table
from envbuilder.util.text import counted, human

if TYPE_CHECKING:
    from envbuilder.transfer.archives import Transfer


@click.command()
@click.argument("what", metavar="RECIPE|ARCHIVE")
@click.argument("to", metavar="[oci://HOST/REPOSITORY:TAG]", required=False)
@output_option
@click.option(
    "--interpreter-change",
    is_flag=True,
    help="Use this machine's CPython even if it is not the locked one; the archive will not be byte-identical.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Attach this report of `envbuilder verify --report FILE` to the archive. Repeatable.",
)
@sources_option
@shared_options
def push(
    what: str,
    output: Path,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Upload an archive to the remote store.

    The store is `store = "s3://…"` in envbuilder.toml, or ENVBUILDER_STORE. An ARCHIVE (a file, or the name or digest
    of one in DIR) is uploaded with its manifest and provenance. A RECIPE (a name in recipes/, or a path) is built first
    if needed and uploaded with its artifacts and segments, so that other machines can build without a package index.
    Existing objects are not uploaded again. Uploads are signed with the private key in the file named by
    ENVBUILDER_STORE_KEY: other machines accept them if their `store-trust` names the public key.

    With oci://HOST/REPOSITORY:TAG the image of the archive is pushed to that registry, with its SBOM, its provenance
    and the given reports. The first argument may then also be an image layout, or PATH:NAME, an image of one with
    several. Credentials are docker's: `docker login HOST`.
    """
    from envbuilder import api
    from envbuilder.api.stores import find_pushed

    transfer = api.push(
        find_pushed(what, output),
        output=output,
        **options,
        session=open_session(quiet=quiet or as_json, find_links=find_links),
    )
    done = f"{counted(len(transfer.sent), 'object')} uploaded, {transfer.there} already there"
    _print_transfer(transfer, as_json, done)
    if transfer.image is None:
        suggest("envbuilder", "pull", Path(transfer.archive).name, quiet=quiet or as_json)
    elif transfer.archive.name.endswith(".gz"):
        command = ("envbuilder", "deploy", transfer.archive, "MODEL", "--repository", "REPOSITORY")
        image = ("--layout", "image", "--image", transfer.image)
        name = transfer.archive.name.rpartition("-")[0]
        suggest(*command, *image, "--mounted-at", f"/envs/{name}", quiet=quiet or as_json)


@click.command()
@click.argument("what", metavar="RECIPE|ARCHIVE")
@output_option
@shared_options
def pull(what: str, output: Path, as_json: bool, quiet: bool) -> None:
    """Download an archive from the remote store.

    An archive is given by its name (resnet-0123456789ab.tar.gz), by the first twelve or more characters of its sha256,
    or by an alias (resnet:stable); a RECIPE stands for the archive built from its lock. Its manifest, reports and
    provenance are downloaded too. An archive is accepted only if it is signed by one of the public keys in
    `store-trust` in envbuilder.toml and matches the requested recipe, lock and release.

    oci://HOST/REPOSITORY:TAG, or …@sha256:DIGEST, is an image in a registry: its archive is rebuilt from the layers,
    and layers that another archive in DIR already contains are not downloaded.
    """
    from envbuilder import api

    transfer = api.pull(what, output=output, session=open_session(quiet=quiet or as_json))
    _print_transfer(transfer, as_json, "downloaded" if transfer.sent else "already present")
    suggest("envbuilder", "verify", transfer.archive, quiet=quiet or as_json)


def _print_transfer(transfer: Transfer, as_json: bool, done: str) -> None:
    if as_json:
        out(transfer, True)
        return
    click.echo(f"{transfer.archive}: {done}")
    click.echo(f"  {human(transfer.size)}, sha256 {transfer.sha256}")
    click.echo(f"  store {transfer.store}")
    if transfer.image is not None:
        click.echo(f"  image {transfer.image}, {human(transfer.moved or 0)} of layers moved")
    for report in transfer.reports:
        click.echo(f"  report {report}")
    for provenance in transfer.provenances:
        click.echo(f"  provenance {provenance}")


@click.command()
@click.argument("name")
@click.argument("archive", required=False)
@click.option("--back", is_flag=True, help="Point the alias to its previous archive.")
@shared_options
def alias(name: str, archive: str | None, back: bool, as_json: bool, quiet: bool) -> None:
    """Show or move an alias.

    NAME is RECIPE:WORD, for instance resnet:stable. ARCHIVE is the name of an archive in the remote store, its
    digest, or another alias; without it, the history of the alias is shown, newest first. An alias moves atomically: of
    two concurrent moves, one is rejected.

    oci://HOST/REPOSITORY:TAG is a tag in a registry; ARCHIVE is another tag or a digest of the same repository, or the
    reference of either.
    """
    from envbuilder import api

    if back and archive is not None:
        raise click.UsageError("--back cannot be combined with ARCHIVE")
    found = api.alias(name, archive, back=back, session=open_session(quiet=quiet or as_json))
    if as_json:
        out(found, True)
        return
    if found.sha256 is None:
        click.echo(f"{name} points to nothing")
        return
    click.echo(f"{name} points to {found.sha256}")
    show_table(["move", "sha256", "when"], [(str(m.number), m.sha256, m.time) for m in reversed(found.moves)])
