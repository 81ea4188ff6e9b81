"""The command line. Nothing below this module prints, exits or knows click."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import errno
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from rich.console import Console

from envbuilder import __version__, verbs
from envbuilder.errors import EnvbuilderError, RecipeError, VerifyError
from envbuilder.sizes import savings
from envbuilder.store import Store, StoreEntry, parse_size
from envbuilder.terminal import human, make_reporter, table

if TYPE_CHECKING:
    from envbuilder.build import BuildReport
    from envbuilder.lock import LockResult

_F = TypeVar("_F", bound=Callable[..., Any])


class _Group(click.Group):
    """Makes text and an exit code of every error, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EnvbuilderError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            where = f" under {error.filename}" if error.filename else ""
            _fail(
                f"no space left on the disk{where}\n  hint: `envbuilder store prune --limit 5G` frees some", 1
            )


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; a kill by SIGTERM cleans up as an interrupt does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cli()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Locked, reproducible, verified Python environments for PyTorch models behind NVIDIA Triton."""


def _shared_options(command: _F) -> _F:
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)
    return click.option("--quiet", "-q", is_flag=True, help="Show no progress.")(command)


def _sources_option(command: _F) -> _F:
    return click.option(
        "--find-links",
        multiple=True,
        metavar="WHEELHOUSE",
        help="A folder or page of wheels that counts before any index. May be given several times.",
    )(command)


_recipes_argument = click.argument("recipes", nargs=-1, metavar="[RECIPE]...")


# -- recipes and locks -----------------------------------------------------------------------------


@cli.command()
@click.argument("name")
@click.option("--triton", default=None, help="Triton release, for instance 25.06.")
@click.option("--torch", default=None, help="torch version, for instance 2.7.1.")
@click.option("--cuda", default=None, help="cpu, cu126, …, or pypi.")
@_shared_options
def init(
    name: str, triton: str | None, torch: str | None, cuda: str | None, as_json: bool, quiet: bool
) -> None:
    """Write a recipe to start from, with comments."""
    path = verbs.init(name, triton=triton, torch=torch, cuda=cuda)
    _out({"recipe": path}, as_json, f"wrote {path}; next: envbuilder lock {path.stem}")


@cli.command()
@_recipes_argument
@click.option("--check", is_flag=True, help="Only say whether the lock belongs to the recipe (exit code 3).")
@click.option("--resolve", is_flag=True, help="With --check: solve again and compare.")
@click.option("--upgrade", "-U", is_flag=True, help="Take the newest of everything.")
@click.option("--upgrade-package", "-P", multiple=True, metavar="NAME", help="Take the newest NAME.")
@click.option("--fetch", is_flag=True, help="Fill the wheelhouse beside the lock.")
@_sources_option
@_shared_options
def lock(
    recipes: Sequence[str],
    check: bool,
    resolve: bool,
    upgrade: bool,
    upgrade_package: Sequence[str],
    fetch: bool,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Resolve recipes into locks: every artifact by name, version, sha256."""
    if resolve and not check:
        raise click.UsageError("--resolve goes with --check")
    reporter = make_reporter(quiet=quiet or as_json)
    results = []
    for recipe in verbs.load_recipes(recipes):
        result = verbs.lock(
            recipe,
            check=check,
            resolve=resolve,
            upgrade=upgrade,
            upgrade_packages=upgrade_package,
            fetch=fetch,
            find_links=find_links,
            reporter=reporter,
        )
        results.append(result)
        if not as_json:
            _print_lock(result, check)
    if as_json:
        _out(results, True)


def _print_lock(result: LockResult, check: bool) -> None:
    lock = result.lock
    done = "is current" if check else "written" if result.changed else "unchanged"
    click.echo(
        f"{result.path}: {done}: {len(lock.artifacts)} packages, torch {lock.torch}, "
        f"CPython {lock.interpreter.version} for Triton {lock.release}"
    )
    if lock.demands:
        click.echo(f"  demanded by Triton {lock.release}: {', '.join(lock.demands)}")


# -- archives --------------------------------------------------------------------------------------


@cli.command()
@_recipes_argument
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("envs"), show_default=True)
@click.option("--check", is_flag=True, help="Build again from nothing, and compare the bytes.")
@click.option("--interpreter-change", is_flag=True, help="Take another CPython than the locked one.")
@click.option("--threads", "-j", type=click.IntRange(1), default=None, help="Default: one for each CPU.")
@_sources_option
@_shared_options
def build(
    recipes: Sequence[str],
    output: Path,
    check: bool,
    interpreter_change: bool,
    threads: int | None,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Build the archives of locks."""
    from envbuilder.build import keep_freed_memory

    keep_freed_memory()
    reporter = make_reporter(quiet=quiet or as_json)
    reports = []
    for recipe in verbs.load_recipes(recipes):
        report = verbs.build(
            recipe,
            output=output,
            check=check,
            interpreter_change=interpreter_change,
            threads=threads,
            find_links=find_links,
            reporter=reporter,
        )
        reports.append(report)
        if not as_json:
            _print_build(report, check)
    if as_json:
        _out([_without_files(report) for report in reports], True)


def _print_build(report: BuildReport, check: bool) -> None:
    manifest = report.manifest
    state = "already there" if report.already_there else "built"
    click.echo(
        f"{report.archive}: {state}{', the same bytes when built again from nothing' if check else ''}"
    )
    click.echo(
        f"  {human(report.size)} ({human(manifest.unpacked_size)} unpacked, {len(manifest.files)} files), "
        f"sha256 {report.sha256}"
    )
    click.echo(
        f"  CPython {manifest.python}, torch {manifest.torch}, Triton {manifest.release}; "
        f"asks glibc {manifest.glibc}, GLIBCXX {manifest.glibcxx}"
    )
    if not report.already_there:
        click.echo(f"  {report.segments_made} of {report.segments_total} segments made, the others kept")
    for name, files, size in savings(manifest.excluded):
        click.echo(f"  left out: {human(size)} in {files} files: {name}")


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--model", type=click.Path(path_type=Path), default=None, help="Your own model directory.")
@click.option(
    "--release", "releases", multiple=True, help="Replay this release's contract. Default: the recipe's."
)
@click.option(
    "--server/--no-server", default=None, help="Ask a real tritonserver. Default: where one is at hand."
)
@click.option("--tritonserver", type=click.Path(path_type=Path), default=None, help="The server to ask.")
@click.option("--report", type=click.Path(path_type=Path), default=None, help="Write the report, JSON.")
@click.option("--junit", type=click.Path(path_type=Path), default=None, help="Write the report, JUnit XML.")
@_sources_option
@_shared_options
def verify(
    archive: Path,
    model: Path | None,
    releases: Sequence[str],
    server: bool | None,
    tritonserver: Path | None,
    report: Path | None,
    junit: Path | None,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Prove that Triton loads an archive, and that a model compiles and answers in it."""
    found = verbs.verify(
        archive,
        model=model,
        releases=releases,
        server=server,
        tritonserver=tritonserver,
        find_links=find_links,
        reporter=make_reporter(quiet=quiet or as_json),
    )
    if report is not None:
        _write(report, found.json())
    if junit is not None:
        _write(junit, found.junit())
    if as_json:
        click.echo(found.json(), nl=False)
    else:
        Console(highlight=False).print(
            table(["check", "release", "result", "found"], found.rows()), markup=False
        )
        click.echo(found.summary())
    if not found.passed:
        names = ", ".join(dict.fromkeys(check.id for check in found.failures))
        raise VerifyError(f"{len(found.failures)} checks failed: {names}")


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--plot", type=click.Path(path_type=Path), default=None, help="Draw it: FILE.svg or FILE.png.")
@_shared_options
def size(archive: Path, plot: Path | None, as_json: bool, quiet: bool) -> None:
    """Say where the bytes of an archive are, by package and by kind."""
    sizes = verbs.size(archive, reporter=make_reporter(quiet=quiet or as_json))
    if plot is not None:
        verbs.plot_sizes(sizes, plot)
    if as_json:
        _out(sizes, True)
        return
    console = Console(highlight=False)
    for title, rows in sizes.tables():
        console.print(table([title, "packed", "share", "unpacked", "files"], rows), markup=False)
        click.echo()


# -- deployments -----------------------------------------------------------------------------------


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option("--repository", type=click.Path(path_type=Path), required=True, help="The model repository.")
@click.option(
    "--layout", type=click.Choice(["model", "shared", "backend"]), default="model", show_default=True
)
@click.option("--unpacked", is_flag=True, help="A folder instead of an archive: nothing to extract at start.")
@click.option("--name", default=None, help="The model's name, where it is not the directory's.")
@click.option(
    "--shared", type=click.Path(path_type=Path), default=None, help="The folder of --layout shared."
)
@click.option("--shared-as", default=None, help="What the server calls that folder.")
@click.option(
    "--backends", type=click.Path(path_type=Path), default=None, help="The folder of --layout backend."
)
@click.option("--backend", default=None, help="The backend's name.")
@click.option("--prune", is_flag=True, help="Delete environments that no model names any more.")
@_shared_options
def deploy(archive: Path, model_dir: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Put a model directory, an archive and the runtime into a model repository."""
    deployment = verbs.deploy(archive, model_dir, reporter=make_reporter(quiet=quiet or as_json), **options)
    if as_json:
        _out(deployment, True)
    else:
        for line in deployment.lines():
            click.echo(line)


@cli.command()
@click.option(
    "--keep", type=click.Path(path_type=Path), default=None, help="Keep what it makes in this folder."
)
@_sources_option
@_shared_options
def quickstart(keep: Path | None, find_links: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Do all of it on an embedded default: lock, build, verify, deploy, and ask a real server."""
    made = verbs.quickstart(keep=keep, find_links=find_links, reporter=make_reporter(quiet=quiet or as_json))
    if as_json:
        _out(made, True)
    else:
        for line in made.lines():
            click.echo(line)


@cli.command()
@_recipes_argument
@_sources_option
@_shared_options
def doctor(recipes: Sequence[str], find_links: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Say what this machine can lock, build and verify, and what is missing."""
    diagnosis = verbs.doctor(recipes, find_links=find_links)
    if as_json:
        _out(diagnosis, True)
        return
    console = Console(highlight=False)
    for title, headings, rows in diagnosis.tables():
        console.print(table(headings, rows, title=title), markup=False)
        click.echo()


# -- the store -------------------------------------------------------------------------------------


@cli.group()
def store() -> None:
    """The folder of artifacts and segments on this machine."""


@store.command("info")
@_shared_options
def store_info(as_json: bool, quiet: bool) -> None:
    """Say where the store is, and what it holds."""
    opened = Store.open()
    entries = opened.entries()
    rows = []
    for kind in dict.fromkeys(entry.kind for entry in entries):
        sizes = [entry.size for entry in entries if entry.kind == kind]
        rows.append((kind, str(len(sizes)), human(sum(sizes))))
    if as_json:
        _out(
            {"root": opened.root, "limit": opened.limit, "readonly": opened.readonly, "entries": entries},
            True,
        )
        return
    limit = human(opened.limit) if opened.limit is not None else "none"
    click.echo(f"{opened.root}{' (read-only)' if opened.readonly else ''}, limit {limit}")
    Console(highlight=False).print(table(["kind", "entries", "size"], rows))


@store.command("prune")
@click.option("--limit", default=None, help="Evict until it holds at most this, for instance 20G.")
@_shared_options
def store_prune(limit: str | None, as_json: bool, quiet: bool) -> None:
    """Evict what was not used for longest."""
    bound = parse_size(limit, where="--limit") if limit else None
    _print_evicted(Store.open().prune(bound), as_json)


@store.command("clear")
@_shared_options
def store_clear(as_json: bool, quiet: bool) -> None:
    """Evict everything."""
    _print_evicted(Store.open().clear(), as_json)


def _print_evicted(evicted: Sequence[StoreEntry], as_json: bool) -> None:
    freed = sum(entry.size for entry in evicted)
    _out({"evicted": evicted, "freed": freed}, as_json, f"evicted {len(evicted)} entries, {human(freed)}")


# -- output ----------------------------------------------------------------------------------------


def _out(result: object, as_json: bool, text: str = "") -> None:
    click.echo(json.dumps(_plain(result), indent=1, sort_keys=True) if as_json else text)


def _plain(value: Any) -> Any:
    """Make JSON of dataclasses and what is in them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (Path, datetime.date, enum.Enum)):
        return str(value)
    return value


def _without_files(report: BuildReport) -> dict[str, Any]:
    """Leave the list of files to the manifest beside the archive."""
    plain: dict[str, Any] = _plain(report)
    plain["manifest"].pop("files")
    return plain


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
