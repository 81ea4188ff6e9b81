"""What is inside an archive: ``sbom``, ``licences`` and ``audit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from envbuilder import api
from envbuilder.cli.options import archive_argument, shared_options
from envbuilder.cli.output import out, write_file
from envbuilder.cli.terminal import make_reporter, show_table
from envbuilder.errors import VerifyError
from envbuilder.util.text import counted


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
    text = api.sbom(archive, reporter=make_reporter(quiet=quiet or as_json))
    if output is None:
        click.echo(text, nl=False)
        return
    write_file(output, text)
    out({"sbom": output}, as_json, f"wrote {output}")


@click.command()
@archive_argument
@click.option(
    "--allow", multiple=True, metavar="SPDX", help="Nothing but this may be in it; GPL-* means every GPL."
)
@click.option(
    "--deny", multiple=True, metavar="SPDX", help="This may not be in it. Both may be given several times."
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME=SPDX",
    help="What a person decided of a package that says no licence, or a wrong one.",
)
@shared_options
def licences(
    archive: Path,
    allow: Sequence[str],
    deny: Sequence[str],
    packages: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Say which licences are in an archive, and refuse some.

    As the packages' own METADATA and licence files say, in SPDX expressions; NVIDIA's own terms are named
    LicenseRef-NVIDIA-…. Of A OR B one must be allowed, of A AND B both. A package without a licence that is one is
    refused where --allow is given. Exit code 7 where one is refused.
    """
    from envbuilder.inventory.policy import Policy

    if wrong := [one for one in packages if not all(one.partition("="))]:
        raise click.UsageError(f"--package {wrong[0]}: NAME=SPDX is meant, for instance alpha=MIT")
    decided = dict(one.split("=", 1) for one in packages)
    policy = Policy(allow=tuple(allow), deny=tuple(deny), packages=decided)
    found = api.licences(archive, policy, reporter=make_reporter(quiet=quiet or as_json))
    if as_json:
        out(found, True)
    else:
        rows = []
        for one in found:
            licence = one.component.licence
            said = one.reason or licence.terms or ""
            name = licence.name
            name = f"{name}: {said}" if said else name
            rows.append((one.component.name, one.component.version, one.verdict, licence.source, name))
        show_table(["package", "version", "verdict", "from", "licence"], rows)
    refused = [one for one in found if one.verdict == "refused"]
    if refused:
        names = ", ".join(dict.fromkeys(one.component.name for one in refused))
        raise VerifyError(
            f"{counted(len(refused), 'licence')} refused: {names}",
            hint="leave the package out, or say with --package NAME=SPDX what was decided of it",
        )


@click.command()
@archive_argument
@click.option(
    "--advisories",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="A folder or an archive of OSV records, for instance OSV's PyPI/all.zip.",
)
@click.option(
    "--ignore", multiple=True, metavar="ID", help="An advisory that does not count here. May be repeated."
)
@shared_options
def audit(archive: Path, advisories: Path, ignore: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Say what is known against what is in an archive.

    Its Python packages, also those that lie inside others, and the interpreter are held against advisories as OSV
    publishes them, which lie on this machine: no network is asked. Records of one thing under several names are one
    finding. Exit code 7 where there is any.
    """
    found = api.audit(archive, advisories, ignore=ignore, reporter=make_reporter(quiet=quiet or as_json))
    if as_json:
        out(found, True)
    else:
        rows = [
            (
                one.component.name,
                one.component.version,
                f"{one.id}{' (ignored)' if one.ignored else ''}",
                ", ".join(one.aliases),
                ", ".join(one.fixed),
                one.severity,
                one.summary,
            )
            for one in found.findings
        ]
        if rows:
            show_table(["package", "version", "advisory", "also", "mended in", "severity", ""], rows)
        read = counted(found.advisories, "advisory", "advisories")
        changed = f", the newest of {found.newest[:10]}" if found.newest else ""
        click.echo(f"{found.archive}: {counted(len(found.counting), 'finding')} in {read}{changed}")
    if found.counting:
        names = ", ".join(dict.fromkeys(one.component.name for one in found.counting))
        raise VerifyError(
            f"{counted(len(found.counting), 'advisory', 'advisories')} against {names}",
            hint="take a version that mends it, or say with --ignore ID that it does not count here",
        )
