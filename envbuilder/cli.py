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

from envbuilder import __version__, verbs
from envbuilder.errors import EnvbuilderError, RecipeError, VerifyError
from envbuilder.files import write_whole
from envbuilder.sizes import savings
from envbuilder.store import Store, StoreEntry, parse_size
from envbuilder.terminal import human, make_reporter, show_table

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
        except KeyboardInterrupt:
            _fail("interrupted", 128 + signal.SIGINT, label="")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                where = f" under {error.filename}" if error.filename else ""
                hint = "\n  hint: `envbuilder store prune --limit 5G` frees some"
                _fail(f"no space left on the disk{where}{hint}", 1)
            if error.filename is None:  # a broken pipe, which click handles, or a bug, to be seen whole
                raise
            _fail(f"{error.filename}: {error.strerror}", 1)


def _fail(text: str, code: int, *, label: str = "error: ") -> NoReturn:
    click.echo(f"{label}{text}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; a kill by SIGTERM cleans up as an interrupt does."""
    signal.signal(signal.SIGTERM, _terminate)
    cli()


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: a second does not stop the cleaning up
    _fail("terminated", 128 + signal.SIGTERM, label="")


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Exit codes: 0 done; 2 a recipe or an argument is wrong; 3 a lock is stale; 4 nothing resolves, or a
    download fails; 5 bytes are not what they should be; 6 artifacts make no environment; 7 verification failed;
    8 a model cannot be deployed; 130 interrupted; 1 anything else.""",
)
@click.version_option(__version__)
def cli() -> None:
    """Locked, reproducible, verified Python environments for PyTorch models behind NVIDIA Triton.

    \b
    recipe --lock--> lock --build--> archive --verify--> report
                                        \\--deploy--> model repository

    A recipe is a short YAML file in recipes/; `envbuilder init` writes one. Results go to standard output,
    progress to standard error. `envbuilder quickstart` does all of it once, on a sample model.
    """


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


_archive_argument = click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
_recipes_argument = click.argument("recipes", nargs=-1, metavar="[RECIPE]...")


# -- recipes and locks -----------------------------------------------------------------------------


@cli.command()
@click.argument("name")
@click.option("--triton", metavar="RELEASE", help="Triton release, for instance 25.06, or pytriton-0.7.0.")
@click.option("--torch", metavar="VERSION", help="torch version, for instance 2.7.1.")
@click.option("--cuda", metavar="CUDA", help="cpu, cu126, …, or pypi: the build on the package index.")
@_shared_options
def init(
    name: str, triton: str | None, torch: str | None, cuda: str | None, as_json: bool, quiet: bool
) -> None:
    """Write a recipe to start from, with comments.

    NAME is the recipe's name, which gives recipes/NAME.yaml, or a path that ends in .yaml. A recipe that is there
    is left alone. Impossible pairs of Triton, torch and CUDA are refused, naming the nearest possible ones.
    """
    path = verbs.init(name, triton=triton, torch=torch, cuda=cuda)
    _out({"recipe": path}, as_json, f"wrote {path}; next: envbuilder lock {name}")


@cli.command()
@_recipes_argument
@click.option("--check", is_flag=True, help="Write nothing, say whether locks are current.")
@click.option("--resolve", is_flag=True, help="With --check: solve again and compare.")
@click.option("--upgrade", "-U", is_flag=True, help="Take the newest of everything the recipe allows.")
@click.option(
    "--upgrade-package",
    "-P",
    multiple=True,
    metavar="NAME",
    help="Take the newest NAME (`python`: this machine's interpreter). May be given several times.",
)
@click.option(
    "--fetch", is_flag=True, help="Fill wheelhouse/ beside the lock, for builds that have no network."
)
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
    """Write locks: every artifact by version and sha256.

    RECIPE is a name in recipes/ or a path; none means all. The lock, pylock.RECIPE.toml, lies beside its recipe and
    belongs into version control. What a lock already holds is kept for as long as the recipe allows it: use
    --upgrade or --upgrade-package for newer versions.

    --check needs no network: it compares digests. It looks at every recipe before it ends, and ends with exit code 3
    where a lock is missing or stale.
    """
    if resolve and not check:
        raise click.UsageError("--resolve goes with --check")
    if check and (upgrade or upgrade_package or fetch):
        raise click.UsageError("--check changes nothing: no --upgrade, --upgrade-package or --fetch with it")
    reporter = make_reporter(quiet=quiet or as_json)
    results: list[object] = []
    errors: list[EnvbuilderError] = []
    for recipe in verbs.load_recipes(recipes):
        try:
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
        except EnvbuilderError as error:
            if not check:
                raise
            errors.append(error)
            results.append({"recipe": recipe.name, "error": error.message, "hint": error.hint})
            click.echo(f"error: {error}", err=True)
            continue
        results.append(result)
        if not as_json:
            _print_lock(result, check)
    if as_json:
        _out(results, True)
    if errors:
        sys.exit(errors[0].exit_code)


def _print_lock(result: LockResult, check: bool) -> None:
    lock = result.lock
    done = "current" if check else "written" if result.changed else "unchanged"
    click.echo(
        f"{result.path}: {done}, {_count(len(lock.artifacts), 'package')}, torch {lock.torch}, "
        f"CPython {lock.interpreter.version} for Triton {lock.release}"
    )
    if lock.demands:
        click.echo(f"  demanded by Triton {lock.release}: {', '.join(lock.demands)}")
    for difference in result.differences:
        click.echo(f"  {difference}")
    if result.wheelhouse is not None:
        click.echo(f"  wheelhouse: {result.wheelhouse}")


# -- archives --------------------------------------------------------------------------------------


@cli.command()
@_recipes_argument
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
    """Build the archives of locks.

    RECIPE is a name in recipes/ or a path; none means all. Each gives DIR/RECIPE-DIGEST.tar.gz, where DIGEST begins
    the archive's sha256, and its manifest, RECIPE-DIGEST.json, beside it. The same lock gives the same bytes on every
    machine. An archive that is there already is left untouched.
    """
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
    if check:
        state += ", and the same bytes when built again from nothing"
    click.echo(f"{report.archive}: {state}")
    click.echo(
        f"  {human(report.size)}, {human(manifest.unpacked_size)} unpacked in {_count(len(manifest.files), 'file')}"
    )
    click.echo(f"  sha256 {report.sha256}")
    click.echo(
        f"  CPython {manifest.python}, torch {manifest.torch}, Triton {manifest.release}; "
        f"asks glibc {manifest.glibc}, GLIBCXX {manifest.glibcxx}"
    )
    if not report.already_there:
        kept = report.segments_total - report.segments_made
        click.echo(f"  {_count(report.segments_made, 'segment')} made, {kept} kept from before")
    for name, files, size in savings(manifest.excluded):
        click.echo(f"  left out {human(size):>9}: {name} ({_count(files, 'file')})")


@cli.command()
@_archive_argument
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
    "--tritonserver",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The server to ask. Default: one on PATH, or the one in the nvidia-pytriton wheel.",
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, JSON.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, JUnit XML.")
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
    """Prove that Triton loads an archive.

    The archive is extracted as the release would, checked file by file, and a model is loaded, compiled and asked
    under the release's own way of starting Python, out of reach of what the archive was made from. Every check has
    an id, says what it found, and what to change. Exit code 7 where one failed.
    """
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
        show_table(["check", "release", "result", "found"], found.rows())
        click.echo(found.summary())
    if not found.passed:
        names = ", ".join(dict.fromkeys(check.id for check in found.failures))
        raise VerifyError(f"{_count(len(found.failures), 'check')} failed: {names}")


@cli.command()
@_archive_argument
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it as a treemap: FILE.svg, or FILE.png (with Pillow).",
)
@_shared_options
def size(archive: Path, plot: Path | None, as_json: bool, quiet: bool) -> None:
    """Say where the bytes of an archive are.

    By package and by kind: GPU code, host code, Python, bytecode, headers, data; packed, as they lie in the archive,
    and unpacked. Then what was left out of the archive, by rule of `pack: {exclude: …}`.
    """
    sizes = verbs.size(archive, reporter=make_reporter(quiet=quiet or as_json))
    if plot is not None:
        verbs.plot_sizes(sizes, plot)
    if as_json:
        _out(sizes, True)
        return
    for title, rows in sizes.tables():
        show_table([title, "packed", "share", "unpacked", "files"], rows)
        click.echo()
    if plot is not None:
        click.echo(f"drawn: {plot}")


# -- deployments -----------------------------------------------------------------------------------


@cli.command()
@_archive_argument
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The model repository; it is made if it is not there.",
)
@click.option(
    "--layout",
    type=click.Choice(["model", "shared", "backend"]),
    default="model",
    show_default=True,
    help="Where the environment goes: into the model's folder, into one folder for many models, or with the runtime "
    "into a Python-based backend.",
)
@click.option("--unpacked", is_flag=True, help="A folder instead of an archive: nothing to extract at start.")
@click.option("--name", help="The model's name, where it is not the directory's.")
@click.option(
    "--shared", type=click.Path(path_type=Path), metavar="DIR", help="The folder of --layout shared."
)
@click.option("--shared-as", metavar="PATH", help="What the server calls that folder.")
@click.option(
    "--backends", type=click.Path(path_type=Path), metavar="DIR", help="The folder of --layout backend."
)
@click.option("--backend", metavar="NAME", help="The backend's name.")
@click.option("--prune", is_flag=True, help="Delete environments that no model names any more.")
@_shared_options
def deploy(archive: Path, model_dir: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Put a model, an archive and the runtime into a repository.

    MODEL_DIR is a model directory as Triton has it: config.pbtxt and version folders with model.py, model.pt,
    model.safetensors or model.pt2. It is only read. In the repository, config.pbtxt keeps its comments and order and
    gets what the environment needs. A server that polls the repository never sees half a model; deploying twice
    changes nothing.
    """
    deployment = verbs.deploy(archive, model_dir, reporter=make_reporter(quiet=quiet or as_json), **options)
    if as_json:
        _out(deployment, True)
    else:
        for line in deployment.lines():
            click.echo(line)


@cli.command()
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep what it makes in this folder. Default: it is removed at the end.",
)
@_sources_option
@_shared_options
def quickstart(keep: Path | None, find_links: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Do all of it once, on a sample model.

    Builds and verifies the recipe `cpu` that comes with the tool, deploys a small model with it, starts a real
    tritonserver, asks it, and prints the answer.
    """
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
    """Say what this machine can do, and what is missing.

    Interpreters, compilers, server, GPU and driver, free disk, package indexes; and of each RECIPE (a name in
    recipes/ or a path; none means all) whether this machine can lock, build and verify it.
    """
    diagnosis = verbs.doctor(recipes, find_links=find_links)
    if as_json:
        _out(diagnosis, True)
        return
    for title, headings, rows in diagnosis.tables():
        click.echo(title)
        show_table(headings, rows)
        click.echo()


# -- the store -------------------------------------------------------------------------------------


@cli.group()
def store() -> None:
    """Look after the folder of artifacts and segments.

    What is fetched and assembled is kept there and never made twice. Its place: ENVBUILDER_CACHE, or where this
    platform keeps caches; its limit: ENVBUILDER_CACHE_LIMIT (40G, or none).
    """


@store.command("info")
@_shared_options
def store_info(as_json: bool, quiet: bool) -> None:
    """Say where the store is, and what it holds."""
    opened = Store.open()
    entries = opened.entries()
    rows = []
    for kind in sorted({entry.kind for entry in entries}):
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
    if rows:
        rows.append(("total", str(len(entries)), human(sum(entry.size for entry in entries))))
    show_table(["kind", "entries", "size"], rows)


@store.command("prune")
@click.option(
    "--limit",
    metavar="SIZE",
    help="Evict until it holds at most this, for instance 20G. Default: the store's own limit.",
)
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
    entries = _count(len(evicted), "entry", "entries")
    _out({"evicted": evicted, "freed": freed}, as_json, f"evicted {entries}, {human(freed)}")


# -- output ----------------------------------------------------------------------------------------


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


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
        write_whole(path, text.encode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
