"""Archives: ``build``, ``verify`` and ``size``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envbuilder import api
from envbuilder.cli.options import (
    archive_argument,
    open_session,
    recipes_argument,
    shared_options,
    sources_option,
)
from envbuilder.cli.output import out, plain
from envbuilder.cli.terminal import make_reporter, show_table
from envbuilder.errors import VerifyError
from envbuilder.inventory.kept import kept_for
from envbuilder.inventory.sizes import savings
from envbuilder.recipe.matrix import Cell, load_matrix
from envbuilder.util.text import counted, human

if TYPE_CHECKING:
    from envbuilder.building.record import BuildReport
    from envbuilder.fleet.build_many import Outcome


@click.command()
@recipes_argument
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("envs"),
    show_default=True,
    help="Where archives go.",
)
@click.option("--check", is_flag=True, help="Build again from nothing, and compare the bytes.")
@click.option(
    "--interpreter-change",
    is_flag=True,
    help="Take this machine's CPython where it is not the locked one; the archive's bytes are others then.",
)
@click.option(
    "--threads", "-j", type=click.IntRange(1), metavar="N", help="Default: one for each CPU, at most 8."
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Build on the workers of the Dask scheduler at this address; they meet in the store elsewhere.",
)
@click.option(
    "--no-pull",
    is_flag=True,
    help="With --cluster: leave the archives in the store elsewhere; `envbuilder pull` brings one.",
)
@click.option(
    "--matrix",
    is_flag=True,
    help='Build every combination of a recipe with lists: triton: ["24.10", "25.06"].',
)
@click.option("--verify", is_flag=True, help="Verify each archive too; its report goes beside it.")
@sources_option
@shared_options
def build(
    recipes: Sequence[str],
    output: Path,
    check: bool,
    matrix: bool,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Build the archives of locks.

    RECIPE is a name in recipes/ or a path; none means all. Each gives DIR/RECIPE-DIGEST.tar.gz, where DIGEST begins
    the archive's sha256, and its manifest, RECIPE-DIGEST.json, beside it. The same lock gives the same bytes on every
    machine. An archive that is there already is left untouched.

    Several recipes are one graph of tasks: what they have in common is fetched and assembled once, and what goes wrong
    with one of them is said in a table at the end, with the exit code of the first.
    """
    from envbuilder.fleet.build_many import FleetOptions
    from envbuilder.util.malloc import keep_freed_memory

    fleet = FleetOptions(pull=not options.pop("no_pull"), **options)
    many = matrix or fleet.cluster is not None or fleet.verify
    if check and many:
        raise click.UsageError(
            "--check builds one after the other: no --cluster, --matrix or --verify with it"
        )
    if not fleet.pull and fleet.cluster is None:
        raise click.UsageError("--no-pull goes with --cluster")
    loaded = load_matrix(recipes, Path.cwd()) if matrix else api.load_recipes(recipes)
    session = open_session(quiet=quiet or as_json, find_links=find_links)
    if (len(loaded) > 1 and not check) or many:
        _print_outcomes(api.build_many(loaded, output=output, options=fleet, session=session), as_json)
        return

    keep_freed_memory()
    reports = []
    for recipe in loaded:
        assert not isinstance(recipe, Cell)  # they are built above
        report = api.build(
            recipe,
            output=output,
            check=check,
            interpreter_change=fleet.interpreter_change,
            threads=fleet.threads,
            session=session,
        )
        reports.append(report)
        if not as_json:
            _print_build(report, check)
    if as_json:
        out([_without_files(report) for report in reports], True)


def _print_outcomes(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        out(outcomes, True)
    else:
        show_table(["recipe", "", "archive, or why not"], [outcome.row() for outcome in outcomes])
        states = [outcome.state for outcome in outcomes]
        said = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        click.echo(f"{counted(len(outcomes), 'recipe')}: {', '.join(said)}")
    failed = next((outcome.failure for outcome in outcomes if outcome.failure is not None), None)
    if failed is not None:
        sys.exit(failed.exit_code)


def _print_build(report: BuildReport, check: bool) -> None:
    manifest = report.manifest
    state = "already there" if report.already_there else "built"
    if check:
        state += ", and the same bytes when built again from nothing"
    click.echo(f"{report.archive}: {state}")
    click.echo(
        f"  {human(report.size)}, {human(manifest.unpacked_size)} unpacked in {counted(len(manifest.files), 'file')}"
    )
    click.echo(f"  sha256 {report.sha256}")
    click.echo(
        f"  CPython {manifest.python}, torch {manifest.torch}, Triton {manifest.release}; "
        f"asks glibc {manifest.glibc}, GLIBCXX {manifest.glibcxx}"
    )
    if not report.already_there:
        kept = report.segments_total - report.segments_made
        click.echo(f"  {counted(report.segments_made, 'segment')} made, {kept} kept from before")
    for name, files, size in savings(manifest.excluded):
        click.echo(f"  left out {human(size):>9}: {name} ({counted(files, 'file')})")
    for line in kept_for(manifest.kept):
        click.echo(f"  kept {line}")


def _without_files(report: BuildReport) -> dict[str, Any]:
    """Leave the list of files to the manifest beside the archive."""
    said: dict[str, Any] = plain(report)
    said["manifest"].pop("files")
    return said


@click.command()
@archive_argument
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Your own model directory. Default: the recipe's, or a small sample.",
)
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="RELEASE",
    help="Replay this release's contract. May be given several times. Default: the recipe's.",
)
@click.option(
    "--server/--no-server",
    default=None,
    help="Ask a real tritonserver too. Default: where one is at hand.",
)
@click.option(
    "--server-kind",
    default="tritonserver",
    show_default=True,
    metavar="NAME",
    help="What is started as a server: tritonserver, or a plugin's name.",
)
@click.option(
    "--tritonserver",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The server to ask. Default: one on PATH, or the one in the nvidia-pytriton wheel.",
)
@click.option(
    "--provenance",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Refuse an archive that the owner of this public key or certificate did not sign.",
)
@click.option(
    "--identity",
    metavar="NAME",
    help="With --provenance CERTIFICATE: the name that the signer's certificate must have.",
)
@click.option(
    "--timestamp-authority",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --provenance CERTIFICATE: whose timestamps say when it was signed. Without one: now.",
)
@click.option(
    "--lock",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Check that the archive was built from this lock, pylock.RECIPE.toml.",
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, JSON.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, JUnit XML.")
@sources_option
@shared_options
def verify(
    archive: Path,
    lock: Path | None,
    report: Path | None,
    junit: Path | None,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Prove that Triton loads an archive.

    The archive is extracted as the release would, checked file by file, and a model is loaded, compiled and asked
    under the release's own way of starting Python, out of reach of what the archive was made from. Every check has
    an id, says what it found, and what to change. Exit code 7 where one failed.
    """
    from envbuilder.cli.reports import ReportFiles
    from envbuilder.signing.verifier import load_verifier
    from envbuilder.verification.options import complete_request
    from envbuilder.verification.server.servers import ServerChoice
    from envbuilder.verification.verify import VerifyRequest
    from envbuilder.verification.verify import verify as verify_archive

    provenance, identity = options.pop("provenance"), options.pop("identity")
    authority = options.pop("timestamp_authority")
    for option, value in (("--identity", identity), ("--timestamp-authority", authority)):
        if value is not None and provenance is None:
            raise click.UsageError(f"{option} goes with --provenance")
    server = ServerChoice(
        ask=options.pop("server"), kind=options.pop("server_kind"), program=options.pop("tritonserver")
    )
    files = ReportFiles(report, junit)
    with files.whatever_happens(archive):
        session = open_session(quiet=quiet or as_json, find_links=find_links).at(Path.cwd(), remote=False)
        trusted = None if provenance is None else load_verifier(provenance, identity, authority)
        request = VerifyRequest(server=server, trusted=trusted, **options)
        request, session = complete_request(request, archive, session, lock=lock, root=Path.cwd())
        found = verify_archive(archive, session, request, write=files.write)
    if as_json:
        click.echo(found.json(), nl=False)
    else:
        show_table(["check", "release", "result", "found"], found.rows())
        click.echo(found.summary())
    if not found.passed:
        names = ", ".join(dict.fromkeys(check.id for check in found.failures))
        raise VerifyError(f"{counted(len(found.failures), 'check')} failed: {names}")


@click.command()
@archive_argument
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it as a treemap: FILE.svg, or FILE.png (with Pillow).",
)
@shared_options
def size(archive: Path, plot: Path | None, as_json: bool, quiet: bool) -> None:
    """Say where the bytes of an archive are.

    By package and by kind: GPU code, host code, Python, bytecode, headers, data; packed, as they lie in the archive,
    and unpacked. Then what was left out of the archive, by rule of `pack: {exclude: …}`.
    """
    sizes = api.size(archive, reporter=make_reporter(quiet=quiet or as_json))
    if plot is not None:
        api.plot_sizes(sizes, plot)
    if as_json:
        out(sizes, True)
        return
    for title, rows in sizes.tables():
        show_table([title, "packed", "share", "unpacked", "files"], rows)
        click.echo()
    if plot is not None:
        click.echo(f"drawn: {plot}")
