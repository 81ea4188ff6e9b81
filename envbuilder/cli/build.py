"""Archives: ``build``, ``verify`` and ``size``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from envbuilder.cli.options import (
    archive_argument,
    image_argument,
    interpreter_option,
    open_session,
    output_option,
    recipes_argument,
    shared_options,
    sources_option,
)
from envbuilder.cli.output import check_output, out, plain, short, suggest
from envbuilder.cli.terminal import make_reporter
from envbuilder.errors import VerifyError
from envbuilder.util.text import counted, human

if TYPE_CHECKING:
    from envbuilder.building.record import BuildReport
    from envbuilder.fleet.build_many import Outcome


@click.command()
@recipes_argument
@output_option
@click.option(
    "--check", is_flag=True, help="Rebuild from scratch and check that the archive is byte-identical."
)
@interpreter_option
@click.option(
    "--threads",
    "-j",
    type=click.IntRange(1),
    metavar="N",
    help="Number of threads. Default: one per CPU, at most 8.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Build on the workers of the Dask scheduler at this address; they share files through the remote store.",
)
@click.option(
    "--no-pull",
    is_flag=True,
    help="With --cluster: leave the archives in the remote store; `envbuilder pull` downloads one.",
)
@click.option(
    "--matrix",
    is_flag=True,
    help='Build every combination of a matrix recipe (triton: ["24.10", "25.06"]).',
)
@click.option("--verify", is_flag=True, help="Also verify each archive; write its report next to it.")
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

    RECIPE is a name in recipes/ or a path. Default: all recipes. Each is built into DIR/RECIPE-DIGEST.tar.gz, where
    DIGEST is the start of the archive's sha256, with its manifest, RECIPE-DIGEST.json, next to it. The same lock gives
    the same bytes on every machine. An existing archive is left untouched.

    Several recipes are built as one task graph: common parts are fetched and assembled once. Failures are listed in a
    table at the end; the exit code is that of the first failure.
    """
    from envbuilder import api
    from envbuilder.fleet.options import FleetOptions
    from envbuilder.recipe.matrix import Cell, load_matrix
    from envbuilder.util.malloc import keep_freed_memory

    fleet = FleetOptions(pull=not options.pop("no_pull"), **options)
    many = matrix or fleet.cluster is not None or fleet.verify
    if check and many:
        raise click.UsageError("--check cannot be combined with --cluster, --matrix or --verify")
    if not fleet.pull and fleet.cluster is None:
        raise click.UsageError("--no-pull requires --cluster")
    loaded = load_matrix(recipes, Path.cwd()) if matrix else api.load_recipes(recipes)
    session = open_session(quiet=quiet or as_json, find_links=find_links)
    if (len(loaded) > 1 and not check) or many:
        outcomes = api.build_many(loaded, output=output, options=fleet, session=session)
        _print_outcomes(outcomes, as_json)
        return

    keep_freed_memory()
    reports = []
    for recipe in loaded:
        assert not isinstance(recipe, Cell)  # cells are built above
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
    for report in reports[:1]:
        suggest("envbuilder", "verify", report.archive, quiet=quiet or as_json)


def _print_outcomes(outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        out(outcomes, True)
    else:
        from envbuilder.cli.tables import show_table

        show_table(["recipe", "", "archive, or error"], [outcome.row() for outcome in outcomes])
        states = [outcome.state for outcome in outcomes]
        said = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        click.echo(f"{counted(len(outcomes), 'recipe')}: {', '.join(said)}")
    failed = next((outcome.failure for outcome in outcomes if outcome.failure is not None), None)
    if failed is not None:
        sys.exit(failed.exit_code)


def _print_build(report: BuildReport, check: bool) -> None:
    from envbuilder.inventory.kept import kept_for
    from envbuilder.inventory.sizes import savings

    manifest = report.manifest
    state = "already there" if report.already_there else "built"
    if check:
        state += ", byte-identical when rebuilt from scratch"
    click.echo(f"{report.archive}: {state}")
    click.echo(
        f"  {human(report.size)}, {human(manifest.unpacked_size)} unpacked in {counted(len(manifest.files), 'file')}"
    )
    click.echo(f"  sha256 {report.sha256}")
    click.echo(
        f"  CPython {manifest.python}, torch {manifest.torch}, Triton {manifest.release}; "
        f"requires glibc ≥ {manifest.glibc}, GLIBCXX ≥ {manifest.glibcxx}"
    )
    if not report.already_there:
        kept = report.segments_total - report.segments_made
        click.echo(f"  {counted(report.segments_made, 'segment')} made, {kept} reused")
    for name, files, size in savings(manifest.excluded):
        click.echo(f"  excluded {human(size):>9}: {name} ({counted(files, 'file')})")
    for line in kept_for(manifest.kept):
        click.echo(f"  kept {line}")


def _without_files(report: BuildReport) -> dict[str, Any]:
    """Omit the list of files, which is in the manifest next to the archive."""
    said: dict[str, Any] = plain(report)
    said["manifest"].pop("files")
    return said


@click.command()
@image_argument
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="DIR",
    help="A model directory to verify with. Default: the recipe's, else a small sample. With --repository: the "
    "name of one of its models, repeatable. Default: all.",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Verify a whole model repository in one server: each model with its own environment, or with ARCHIVE.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Inputs to send to the model: an .npz with one array per input, or the JSON of `perf_analyzer --input-data`. "
    "Default: the recipe's, model_warmup in config.pbtxt, or generated values.",
)
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="RELEASE",
    help="Verify against this Triton release. Repeatable. Default: the recipe's.",
)
@click.option(
    "--server/--no-server",
    default=None,
    help="Also verify with a real tritonserver. Default: if one is available.",
)
@click.option(
    "--server-kind",
    default="tritonserver",
    show_default=True,
    metavar="NAME",
    help="The kind of server to start: tritonserver, or the name of a plugin.",
)
@click.option(
    "--tritonserver",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The server to use. Default: tritonserver on PATH, else the one in the nvidia-pytriton wheel.",
)
@click.option(
    "--provenance",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Require provenance signed by the owner of this public key or certificate.",
)
@click.option(
    "--identity",
    metavar="NAME",
    help="With --provenance CERTIFICATE: the required name in the signer's certificate.",
)
@click.option(
    "--timestamp-authority",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --provenance CERTIFICATE: the trusted timestamp authority. Default: use the current time.",
)
@click.option(
    "--lock",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Require that the archive was built from this lock (pylock.RECIPE.toml).",
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as JSON.")
@click.option(
    "--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as JUnit XML."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report as an HTML page.",
)
@click.option(
    "--no-cache",
    is_flag=True,
    help="Repeat all checks, including those this machine has already passed.",
)
@sources_option
@shared_options
def verify(
    archive: str,
    lock: Path | None,
    report: Path | None,
    junit: Path | None,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Prove that Triton loads an archive.

    The archive is extracted the way the release does it and checked file by file. A model is loaded, compiled and run
    the way the release starts Python, isolated from the files the archive was built from. Every check has an id and
    reports what it found and what to change. Exits with code 7 if any check failed.

    oci://HOST/REPOSITORY:TAG and an image layout (a folder or FILE.oci.tar, PATH:NAME if it has several images) are
    images: they are unpacked as a container runtime would, compared with their manifest, mounted read-only, and
    verified on that mount.
    """
    from envbuilder.cli.reports import ReportFiles
    from envbuilder.signing.verifier import load_verifier
    from envbuilder.transfer.image_checks import open_target
    from envbuilder.verification.live.model_deployment import ModelChoice
    from envbuilder.verification.options import complete_request
    from envbuilder.verification.server.servers import ServerChoice
    from envbuilder.verification.verify import VerifyRequest
    from envbuilder.verification.verify import verify as verify_archive

    provenance, identity = options.pop("provenance"), options.pop("identity")
    authority = options.pop("timestamp_authority")
    for option, value in (("--identity", identity), ("--timestamp-authority", authority)):
        if value is not None and provenance is None:
            raise click.UsageError(f"{option} requires --provenance")
    names, repository, inputs = options.pop("models"), options.pop("repository"), options.pop("inputs")
    if repository is None and len(names) > 1:
        raise click.UsageError("several --model require --repository")
    if repository is not None and inputs is not None and len(names) != 1:
        raise click.UsageError("--inputs with --repository requires exactly one --model NAME")
    if repository is not None:
        models = ModelChoice(repository=repository, names=names, inputs=inputs)
    else:
        models = ModelChoice(model=Path(names[0]) if names else None, inputs=inputs)
    server = ServerChoice(
        ask=options.pop("server"), kind=options.pop("server_kind"), program=options.pop("tritonserver")
    )
    files = ReportFiles(Path(archive), report, junit, options.pop("html"))
    cache = not options.pop("no_cache")
    with files.report_failures():
        session = open_session(quiet=quiet or as_json, find_links=find_links).at(Path.cwd(), remote=False)
        trusted = None if provenance is None else load_verifier(provenance, identity, authority)
        with open_target(archive, session) as subject:
            request = VerifyRequest(
                server=server,
                trusted=trusted,
                model=models.model,
                choice=models,
                readonly=subject.is_image,
                cache=cache and not subject.is_image,
                **options,
            )
            request, session = complete_request(request, subject.archive, session, lock=lock, root=Path.cwd())
            found = subject.merged(
                verify_archive(
                    subject.archive,
                    session,
                    request,
                    write=lambda report: files.write(subject.merged(report)),
                )
            )
    if as_json:
        click.echo(found.json(), nl=False)
    else:
        _print_checks(found.rows())
        click.echo(found.summary())
    if not found.passed:
        names = ", ".join(dict.fromkeys(check.id for check in found.failures))
        raise VerifyError(f"{counted(len(found.failures), 'check')} failed: {names}")
    if repository is None:
        model = "MODEL" if request.model is None else short(request.model)
        suggest("envbuilder", "deploy", archive, model, "--repository", "REPOSITORY", quiet=quiet or as_json)


def _print_checks(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Print a table; one release, which every check would repeat, is in its heading."""
    from envbuilder.cli.tables import show_table

    releases = {release for _, release, _, _ in rows if release}
    if len(releases) == 1:
        heading = f"found for {releases.pop()}"
        show_table(["check", "result", heading], [(check, result, found) for check, _, result, found in rows])
    else:
        show_table(["check", "release", "result", "found"], rows)


@click.command()
@archive_argument
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a treemap: FILE.svg, or FILE.png (requires Pillow).",
)
@shared_options
def size(archive: Path, plot: Path | None, as_json: bool, quiet: bool) -> None:
    """Show what takes space in an archive.

    By package and by kind: GPU code, host code, Python, bytecode, headers, data; compressed, as in the archive, and
    unpacked. Then what each rule of `pack: {exclude: …}` excluded from the archive.
    """
    from envbuilder import api

    sizes = api.size(archive, reporter=make_reporter(quiet=quiet or as_json))
    if plot is not None:
        check_output(plot)
        api.plot_sizes(sizes, plot)
    if as_json:
        out(sizes, True)
        return
    for title, rows in sizes.tables():
        from envbuilder.cli.tables import show_table

        show_table([title, "packed", "share", "unpacked", "files"], rows)
        click.echo()
    if plot is not None:
        click.echo(f"drawn: {plot}")
