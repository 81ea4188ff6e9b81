"""Recipes and locks: ``init`` and ``lock``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from envbuilder import api
from envbuilder.cli.options import open_session, recipes_argument, shared_options, sources_option
from envbuilder.cli.output import out
from envbuilder.errors import EnvbuilderError
from envbuilder.recipe.importing.convert import Choices
from envbuilder.recipe.importing.remark import Fate
from envbuilder.recipe.matrix import Cell, load_matrix
from envbuilder.util.text import counted

if TYPE_CHECKING:
    from envbuilder.resolve.lock import LockResult


@click.command()
@click.argument("name")
@click.option("--triton", metavar="RELEASE", help="Triton release, for instance 25.06, or pytriton-0.7.0.")
@click.option("--torch", metavar="VERSION", help="torch version, for instance 2.7.1.")
@click.option("--cuda", metavar="CUDA", help="cpu, cu126, …, or pypi: the build on the package index.")
@shared_options
def init(
    name: str, triton: str | None, torch: str | None, cuda: str | None, as_json: bool, quiet: bool
) -> None:
    """Write a recipe to start from, with comments.

    NAME is the recipe's name, which gives recipes/NAME.yaml, or a path that ends in .yaml. A recipe that is there
    is left alone. Impossible pairs of Triton, torch and CUDA are refused, naming the nearest possible ones.
    """
    path = api.init(name, triton=triton, torch=torch, cuda=cuda)
    out({"recipe": path}, as_json, f"wrote {path}; next: envbuilder lock {name}")


@click.command("import")
@click.argument("file", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Take this extra or dependency group of a pyproject.toml, too. May be given several times.",
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
    """Make a recipe of a file that another tool wrote.

    FILE is a conda environment file, requirements.txt, pyproject.toml, uv.lock, poetry.lock, Pipfile, Pipfile.lock,
    pylock.toml, MLmodel, bentofile.yaml, cog.yaml or a truss's config.yaml, told by its content; FOLDER is a project
    or model with one of them.

    NAME is the recipe's name, which gives recipes/NAME.yaml, or a path that ends in .yaml; without it the recipe is
    called as the environment or project is. Versions that were locked stay. What became of each line is printed:
    carried over, changed (to what), or left out (why); what was left out stands in the recipe, too. Nothing is
    solved: `envbuilder lock` does that.
    """
    made = api.import_recipe(file, name, choices=Choices(**choices), groups=groups)
    lines = [f"wrote {made.recipe} from {made.kind}; next: envbuilder lock {name or made.recipe.stem}"]
    for fate in get_args(Fate):
        remarks = [f"  {remark}" for remark in made.remarks if remark.fate == fate]
        lines += [f"{fate}:", *remarks] if remarks else []
    out(made, as_json, "\n".join(lines))


@click.command()
@recipes_argument
@click.option("--check", is_flag=True, help="Write nothing, say whether locks are current.")
@click.option("--resolve", is_flag=True, help="With --check: solve again and compare.")
@click.option("--upgrade", "-U", is_flag=True, help="Take the newest of everything the recipe allows.")
@click.option(
    "--upgrade-package",
    "-P",
    "upgrade_packages",
    multiple=True,
    metavar="NAME",
    help="Take the newest NAME (`python`: this machine's interpreter). May be given several times.",
)
@click.option(
    "--fetch", is_flag=True, help="Fill wheelhouse/ beside the lock, for builds that have no network."
)
@click.option("--matrix", is_flag=True, help="Lock every combination of a recipe with lists.")
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

    RECIPE is a name in recipes/ or a path; none means all. The lock, pylock.RECIPE.toml, lies beside its recipe and
    belongs into version control. What a lock already holds is kept for as long as the recipe allows it: use
    --upgrade or --upgrade-package for newer versions.

    --check needs no network: it compares digests. It looks at every recipe before it ends, and ends with exit code 3
    where a lock is missing or stale.
    """
    if options["resolve"] and not check:
        raise click.UsageError("--resolve goes with --check")
    if check and (options["upgrade"] or options["upgrade_packages"] or options["fetch"]):
        raise click.UsageError("--check changes nothing: no --upgrade, --upgrade-package or --fetch with it")
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


def _print_lock(result: LockResult, check: bool) -> None:
    lock = result.lock
    done = "current" if check else "written" if result.changed else "unchanged"
    click.echo(
        f"{result.path}: {done}, {counted(len(lock.artifacts), 'package')}, torch {lock.torch}, "
        f"CPython {lock.interpreter.version} for Triton {lock.release}"
    )
    if lock.demands:
        click.echo(f"  demanded by Triton {lock.release}: {', '.join(lock.demands)}")
    for difference in result.differences:
        click.echo(f"  {difference}")
    if result.wheelhouse is not None:
        click.echo(f"  wheelhouse: {result.wheelhouse}")
