"""What is inside an archive: ``sbom``, ``licences`` and ``audit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from envbuilder.cli.options import archive_argument, shared_options
from envbuilder.cli.output import out, write_file
from envbuilder.cli.tables import show_table
from envbuilder.cli.terminal import make_reporter
from envbuilder.errors import VerifyError
from envbuilder.util.text import counted


@click.command()
@archive_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to this file instead of standard output.",
)
@shared_options
def sbom(archive: Path, output: Path | None, as_json: bool, quiet: bool) -> None:
    """Write an SBOM of an archive in CycloneDX format.

    A CycloneDX 1.6 document (JSON), validated against CycloneDX's schema: the interpreter, each wheel and conda
    package, and their embedded components (vendored packages, components of their own SBOMs, shared libraries), with
    purl, sha256 and licence. Everything is read from the archive. The same archive gives the same document.
    """
    from envbuilder import api

    text = api.sbom(archive, reporter=make_reporter(quiet=quiet or as_json))
    if output is None:
        click.echo(text, nl=False)
        return
    write_file(output, text)
    out({"sbom": output}, as_json, f"wrote {output}")


@click.command()
@archive_argument
@click.option(
    "--allow",
    multiple=True,
    metavar="SPDX",
    help="An allowed licence; all others are rejected. GPL-* matches every GPL. Repeatable.",
)
@click.option("--deny", multiple=True, metavar="SPDX", help="A rejected licence. Repeatable.")
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME=SPDX",
    help="Set the licence of a package that declares none or a wrong one. Repeatable.",
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
    """List the licences in an archive and check them against a policy.

    Licences come from the packages' METADATA and licence files, as SPDX expressions; NVIDIA's proprietary terms are
    named LicenseRef-NVIDIA-…. For A OR B, one must be allowed; for A AND B, both. With --allow, a package without a
    valid licence is rejected. Exits with code 7 if any licence is rejected.
    """
    from envbuilder import api
    from envbuilder.inventory.policy import Policy

    if wrong := [one for one in packages if not all(one.partition("="))]:
        raise click.UsageError(f"--package {wrong[0]}: expected NAME=SPDX, for instance alpha=MIT")
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
            f"{counted(len(refused), 'licence')} rejected: {names}",
            hint="remove the package, or set its licence with --package NAME=SPDX",
        )


@click.command()
@archive_argument
@click.option(
    "--advisories",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="A directory or an archive of OSV records, for instance OSV's PyPI/all.zip.",
)
@click.option("--ignore", multiple=True, metavar="ID", help="Ignore this advisory. Repeatable.")
@shared_options
def audit(archive: Path, advisories: Path, ignore: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Check the packages in an archive against known advisories.

    The interpreter, its packages, and their embedded components (Python packages, crates and C libraries named by their
    SBOMs, bundled libraries) are matched by package URL against a local copy of OSV advisories, of any ecosystem;
    nothing is sent over the network. Aliases of the same advisory are one finding. Components that could not be matched
    are listed. Exits with code 7 if there is any finding.
    """
    from envbuilder import api

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
            show_table(["package", "version", "advisory", "also", "fixed in", "severity", ""], rows)
        for one in found.unmatched:
            inside = f" in {one.component.inside}" if one.component.inside else ""
            version = f" {one.component.version}" if one.component.version else ""
            click.echo(f"not matched: {one.component.name}{version}{inside}: {one.reason}")
        for path in found.unread:
            click.echo(f"not read: {path}: an SBOM that is neither CycloneDX nor SPDX 2 in JSON")
        read = counted(found.advisories, "advisory", "advisories")
        changed = f", the newest of {found.newest[:10]}" if found.newest else ""
        click.echo(f"{found.archive}: {counted(len(found.counting), 'finding')} in {read}{changed}")
    if found.counting:
        names = ", ".join(dict.fromkeys(one.component.name for one in found.counting))
        raise VerifyError(
            f"{counted(len(found.counting), 'advisory', 'advisories')} against {names}",
            hint="upgrade to a fixed version, or pass --ignore ID if it does not apply",
        )
