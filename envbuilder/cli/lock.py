"""Recipes and locks: ``init`` and ``lock``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from envbuilder.cli.options import json_object, open_session, recipes_argument, shared_options, sources_option
from envbuilder.cli.output import out, short, suggest
from envbuilder.cli.tables import show_table
from envbuilder.cli.terminal import make_reporter
from envbuilder.errors import EnvbuilderError
from envbuilder.util.text import counted

if TYPE_CHECKING:
    from envbuilder.recipe.importing.remark import Remark
    from envbuilder.resolve.lock import LockResult


@click.command()
@click.argument("name")
@click.option("--triton", metavar="RELEASE", help="Triton release, for instance 25.06, or pytriton-0.7.0.")
@click.option("--torch", metavar="VERSION", help="torch version, for instance 2.7.1.")
@click.option("--cuda", metavar="CUDA", help="cpu, cu126, …, or pypi: the build on the package index.")
@click.option(
    "--from",
    "source",
    metavar="FOLDER|MODULE:NAME",
    help="A folder that save_pretrained or timm wrote, or a class such as torchvision.models:resnet50: "
    "writes the model directory models/NAME, too.",
)
@click.option(
    "--model-kwargs",
    metavar="JSON",
    callback=json_object,
    help="With --from MODULE:NAME: a JSON object of what it is called with.",
)
@click.option(
    "--weights",
    metavar="FILE|none",
    help="With --from MODULE:NAME: the weights to copy into the model directory; none serves it as constructed.",
)
@shared_options
def init(
    name: str,
    source: str | None,
    model_kwargs: dict[str, Any] | None,
    weights: str | None,
    as_json: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Write a commented recipe to start from.

    NAME is the recipe's name, which gives recipes/NAME.yaml, or a path that ends in .yaml. An existing recipe is not
    overwritten. Unsupported combinations of Triton, torch and CUDA are rejected, and the nearest supported ones
    suggested.
    """
    from envbuilder import api
    from envbuilder.deployment.library_model import LibrarySource

    if source is None and (model_kwargs or weights):
        raise click.UsageError("--model-kwargs and --weights need --from MODULE:NAME")
    made = LibrarySource(name=source, kwargs=model_kwargs or {}, weights=weights) if source else None
    path = api.init(name, source=made, **choices)
    if source is None:
        out({"recipe": path}, as_json, f"wrote {short(path)}")
    else:
        model = Path("models") / path.stem
        told = f"wrote {short(path)} and {model}"
        if weights is None and not Path(source).is_dir():
            told += f"\nput its weights into {model / '1'}: without them it is not deployed"
        out({"recipe": path, "model": model}, as_json, told)
    suggest("envbuilder", "lock", name, quiet=quiet or as_json)


@click.command("import")
@click.argument("file", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Also include this extra, dependency group or category of a project or its lock. Repeatable.",
)
@click.option("--triton", metavar="RELEASE", help="Triton release, for instance 25.06, or pytriton-0.7.0.")
@click.option("--torch", metavar="VERSION", help="torch version, in place of the file's.")
@click.option("--cuda", metavar="CUDA", help="cpu, cu126, …, or pypi, in place of the file's.")
@click.option("--python", metavar="X.Y", help="Minor version of Python, in place of the file's.")
@shared_options
def import_recipe(
    file: Path,
    name: str | None,
    groups: Sequence[str],
    as_json: bool,
    quiet: bool,
    **choices: str | None,
) -> None:
    """Convert another tool's file to a recipe.

    FILE is a conda environment file, requirements.txt, pyproject.toml, uv.lock, poetry.lock, Pipfile, Pipfile.lock,
    pylock.toml, MLmodel, bentofile.yaml, cog.yaml or a truss's config.yaml, detected by its content; FOLDER is a
    project or model that contains one of them. Either may also be an existing environment: a conda-pack archive, a tar
    of a prefix or a venv, a conda prefix, a venv.

    NAME is the recipe's name, which gives recipes/NAME.yaml, or a path that ends in .yaml; by default the name of the
    environment or project. Locked versions are kept. For each line the output says whether it was carried over, changed
    (to what), or left out (why); the recipe also lists what was left out. Nothing is resolved: `envbuilder lock` does
    that.
    """
    from envbuilder import api
    from envbuilder.recipe.importing.convert import Choices
    from envbuilder.recipe.importing.remark import Fate

    make_reporter(quiet=quiet or as_json)  # an archive is read whole: show that this takes time
    made = api.import_recipe(file, name, choices=Choices(**choices), groups=groups)
    out(made, as_json, f"wrote {short(made.recipe)} from {made.kind}")
    if not as_json:
        ordered = sorted(made.remarks, key=lambda remark: get_args(Fate).index(remark.fate))
        rows = [(one.fate, one.text, one.why, _line(one, file)) for one in ordered]
        show_table(["", "found", "became, or why not", "line"], rows)
    suggest("envbuilder", "lock", name or made.recipe.stem, quiet=quiet or as_json)


def _line(remark: Remark, file: Path) -> str:
    """Return where in *file*, which was named, something stands; nothing of a file inside an archive."""
    for known in (f"{file}:", f"{file.name}:"):
        if remark.place.startswith(known):
            rest = remark.place.removeprefix(known).strip()
            return "" if "/" in rest else rest
    return "" if remark.place in (str(file), file.name) else remark.place


@click.command()
@recipes_argument
@click.option("--check", is_flag=True, help="Write nothing; check that locks are up to date.")
@click.option("--resolve", is_flag=True, help="With --check: resolve again and compare.")
@click.option("--upgrade", "-U", is_flag=True, help="Upgrade all packages as far as the recipe allows.")
@click.option(
    "--upgrade-package",
    "-P",
    "upgrade_packages",
    multiple=True,
    metavar="NAME",
    help="Upgrade NAME (`python`: this machine's interpreter). Repeatable.",
)
@click.option(
    "--fetch",
    is_flag=True,
    help="Download every artifact into wheelhouse/ next to the lock, for offline builds.",
)
@click.option("--matrix", is_flag=True, help="Lock every combination of a matrix recipe.")
@sources_option
@shared_options
def lock(
    recipes: Sequence[str],
    check: bool,
    matrix: bool,
    find_links: Sequence[str],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write locks: every artifact by version and sha256.

    RECIPE is a name in recipes/ or a path. Default: all recipes. The lock, pylock.RECIPE.toml, is written next to
    its recipe and belongs in version control. Locked versions are kept as long as the recipe allows them: use --upgrade
    or --upgrade-package for newer ones.

    --check needs no network: it compares digests. It checks every recipe, and exits with code 3 if any lock is missing
    or stale.
    """
    from envbuilder import api
    from envbuilder.recipe.matrix import Cell, load_matrix

    if options["resolve"] and not check:
        raise click.UsageError("--resolve requires --check")
    if check and (options["upgrade"] or options["upgrade_packages"] or options["fetch"]):
        raise click.UsageError("--check cannot be combined with --upgrade, --upgrade-package or --fetch")
    session = open_session(quiet=quiet or as_json, find_links=find_links)
    results: list[object] = []
    errors: list[EnvbuilderError] = []
    loaded = load_matrix(recipes, Path.cwd()) if matrix else api.load_recipes(recipes)
    for one in loaded:
        try:
            recipe = one.get() if isinstance(one, Cell) else one
            result = api.lock(recipe, check=check, session=session, **options)
        except EnvbuilderError as error:
            if not (check or matrix):
                raise
            errors.append(error)
            results.append({"recipe": one.name, "error": error.message, "hint": error.hint})
            click.echo(f"error: {error}", err=True)
            continue
        results.append(result)
        if not as_json:
            _print_lock(result, check)
    if as_json:
        out(results, True)
    if errors:
        sys.exit(errors[0].exit_code)
    if not check and loaded:
        suggest("envbuilder", "build", *recipes, *["--matrix"] * matrix, quiet=quiet or as_json)


def _print_lock(result: LockResult, check: bool) -> None:
    lock = result.lock
    done = "current" if check else "written" if result.changed else "unchanged"
    click.echo(
        f"{short(result.path)}: {done}, {counted(len(lock.artifacts), 'package')}\n"
        f"  CPython {lock.interpreter.version}, torch {lock.torch}, Triton {lock.release}"
    )
    if lock.demands:
        click.echo(f"  required by Triton {lock.release}: {', '.join(lock.demands)}")
    for difference in result.differences:
        click.echo(f"  {difference}")
    if result.wheelhouse is not None:
        click.echo(f"  wheelhouse: {result.wheelhouse}")
