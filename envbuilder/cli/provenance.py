"""Who made an archive: ``attest``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from envbuilder.cli.options import archive_argument, shared_options
from envbuilder.cli.output import out
from envbuilder.cli.terminal import make_reporter

_PATH = click.Path(path_type=Path)


@click.command()
@archive_argument
@click.option("--key", type=_PATH, metavar="FILE", help="The private key to sign with (PEM).")
@click.option(
    "--certificate",
    type=_PATH,
    metavar="FILE",
    help="The code-signing certificate of that key and its issuers' certificates (PEM), to include.",
)
@click.option(
    "--report", type=_PATH, metavar="FILE", help="Include this report of `envbuilder verify --report`."
)
@click.option("--builder", metavar="URI", help="The builder: builder.id in SLSA.")
@click.option(
    "--timestamp", metavar="URL", help="With --key: get a timestamp from this authority (RFC 3161)."
)
@shared_options
def attest(
    archive: Path,
    key: Path | None,
    certificate: Path | None,
    timestamp: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Create and sign SLSA provenance.

    An in-toto statement with SLSA provenance v1: recipe, lock, artifacts with their sha256, tools, verification report.
    With --key it is signed and written next to the archive as NAME-DIGEST.provenance.json (a DSSE envelope), where
    `envbuilder verify --provenance` looks for it. The passphrase of the key is read from ENVBUILDER_KEY_PASSPHRASE.
    Without --key it is written as NAME-DIGEST.statement.json, for cosign to sign.
    """
    from envbuilder import api

    if certificate is not None and key is None:
        raise click.UsageError("--certificate requires --key")
    if timestamp is not None and key is None:
        raise click.UsageError("--timestamp requires --key")
    path = api.attest(
        archive,
        key=key,
        certificate=certificate,
        timestamp=timestamp,
        reporter=make_reporter(quiet=quiet or as_json),
        **options,
    )
    text = f"wrote {path}"
    if key is None:
        text += "; sign it, for instance with `cosign attest-blob --statement`"
    out({"provenance": path, "signed": key is not None}, as_json, text)
