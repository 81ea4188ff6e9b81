"""A repository as a whole: ``apply`` and ``status``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from envbuilder.cli.options import interpreter_option, open_session, shared_options, sources_option
from envbuilder.cli.output import out, suggest, this_command
from envbuilder.cli.tables import show_table
from envbuilder.util.text import counted

CHANGES = 9
"""Exit code of ``apply --plan`` if there is anything to do."""
repository_argument = click.argument(
    "repository", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
archives_option = click.option(
    "--archives",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("envs"),
    show_default=True,
    help="Directory for archives and the records of their verification.",
)


@click.command()
@repository_argument
@click.option(
    "--plan", is_flag=True, help="Print what would be done; exit with code 9 if there is anything to do."
)
@click.option(
    "--output",
    "-o",
    metavar="DIR|URL",
    help="Deploy into another repository: a folder or an object store. Default: in place.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Also overwrite or delete, in that repository, what neither deploy nor apply put there.",
)
@archives_option
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Verify each pair of environment and model once before deploying it.",
)
@click.option(
    "--server/--no-server",
    default=None,
    help="Also verify with a real tritonserver. Default: if one is available.",
)
@interpreter_option
@sources_option
@shared_options
def apply(repository: Path, find_links: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Bring a whole repository up to date with its recipes.

    [models] in envbuilder.toml maps globs of model names to a recipe, layout and precompile option; a recipe.yaml in a
    model's folder takes precedence. Ensembles, models of other backends and models without a recipe are left
    untouched. Locks are checked, archives built, each pair of environment and model verified once, and the models
    deployed one after another. The failure of one does not stop the others; the exit code is that of the first
    failure. Running it again resumes where it was interrupted.
    """
    from envbuilder import api
    from envbuilder.fleet.repository.apply import ApplyOptions

    session = open_session(quiet=quiet or as_json, find_links=find_links)
    done = api.apply(repository, ApplyOptions(**options), session=session)
    if as_json:
        rows = [
            {
                "model": row.model.name,
                "state": row.state,
                "now": row.now or None,
                "then": row.then or None,
                "why": row.why,
            }
            for row in done.rows
        ]
        out({"planned": done.planned, "models": rows}, True)
    else:
        states = {"change": "change" if done.planned else "deployed"}
        table = [row.cells() for row in done.rows]
        table = [(cells[0], states.get(cells[1], cells[1]), *cells[2:]) for cells in table]
        show_table(["model", "", "environment now" if done.planned else "before", "then", "why"], table)
        said = [
            f"{count} {states.get(state, state)}"
            for state in ("change", "current", "untouched", "refused")
            if (count := sum(row.state == state for row in done.rows))
        ]
        click.echo(f"{counted(len(done.rows), 'model')}: {', '.join(said)}")
    if done.planned and done.changes:
        suggest(*this_command(without={"plan"}), quiet=quiet or as_json)
        sys.exit(CHANGES)
    failed = next((row.error for row in done.failures if row.error is not None), None)
    if failed is not None:
        sys.exit(failed.exit_code)


@click.command()
@repository_argument
@archives_option
@click.option(
    "--advisories",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A folder or archive of OSV records. Default: `advisories` in envbuilder.toml.",
)
@shared_options
def status(repository: Path, archives: Path, advisories: Path | None, as_json: bool, quiet: bool) -> None:
    """Show the environment and state of each model in a repository.

    For each model: its environment and recipe, whether the environment matches the current lock, the compatible
    releases, when and how it was verified, known advisories, and how many bytes it shares with other models.
    """
    from envbuilder import api

    found = api.status(
        repository, archives=archives, advisories=advisories, session=open_session(quiet=quiet or as_json)
    )
    if as_json:
        out(found, True)
        return
    headings = ["model", "environment", "recipe", "lock", "releases", "verified", "advisories", "size", ""]
    show_table(headings, [one.cells() for one in found])
