"""Patching a fleet: ``patch``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from envbuilder.cli.apply import CHANGES, archives_option
from envbuilder.cli.options import interpreter_option, open_session, shared_options, sources_option
from envbuilder.cli.output import out, suggest, this_command, write_file
from envbuilder.cli.tables import show_table
from envbuilder.util.text import counted


@click.command()
@click.argument("advisory", required=False, metavar="[FILE|ID|PACKAGE==VERSION]")
@click.option(
    "--repository",
    "repositories",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Redeploy the models of this repository. Repeatable.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="oci://HOST/REPOSITORY[:TAG]",
    help="Search the images in this repository of a registry. Repeatable.",
)
@click.option(
    "--advisories",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="OSV records in which to look up an ID. Default: `advisories` in envbuilder.toml.",
)
@archives_option
@click.option("--plan", is_flag=True, help="Print what is affected; exit with code 9 if anything is.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Verify the new archives.")
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what changed in each lock, for a pull request.",
)
@click.option("--rollback", is_flag=True, help="Roll back the last patch: locks, aliases, deployed models.")
@interpreter_option
@sources_option
@shared_options
def patch(
    advisory: str | None,
    repositories: tuple[Path, ...],
    markdown: Path | None,
    rollback: bool,
    find_links: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Patch every environment affected by an advisory.

    Applies to every recipe in recipes/, and every model's own recipe, whose lock or archive contains an affected
    package, also when it is embedded in another package; and to those with a deployed model, an alias or an image of
    an older archive that does. Only the affected packages are upgraded in the lock; the archive is built and verified,
    the models of each --repository are redeployed, and aliases of the previous archive are moved. If a pin prevents
    the upgrade, or the newest version is affected, too, the table says so and that lock is left unchanged.
    """
    from envbuilder import api
    from envbuilder.fleet.patching.patch import PatchOptions

    if rollback == (advisory is not None):
        raise click.UsageError("expected either an advisory or --rollback")
    session = open_session(quiet=quiet or as_json, find_links=find_links)
    asked = PatchOptions(repositories=repositories, **options)
    rows = api.patch(advisory, asked, session=session)
    if markdown is not None:
        write_file(markdown, "\n".join(f"## {row.recipe}\n\n{row.markdown}" for row in rows if row.markdown))
    if as_json:
        out(
            [
                {
                    "recipe": row.recipe,
                    "state": row.state,
                    "found": row.found,
                    "changes": row.changes,
                    "archive": row.archive,
                    "before": row.before,
                    "aliases": row.aliases,
                    "models": row.models,
                    "images": row.images,
                    "notes": row.notes,
                    "error": None if row.error is None else row.error.message,
                }
                for row in rows
            ],
            True,
        )
    else:
        if rows:
            show_table(
                ["recipe", "", "contains", "changed, or why not", "archive", "aliases", "models", "images"],
                [row.cells() for row in rows],
            )
        states = [row.state for row in rows]
        said = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        click.echo(f"{counted(len(rows), 'recipe')}: {', '.join(said)}" if rows else "nothing is affected")
    if any(row.state == "affected" for row in rows):
        suggest(*this_command(without={"plan"}), quiet=quiet or as_json)
        sys.exit(CHANGES)
    failed = next((row.error for row in rows if row.error is not None), None)
    if failed is not None:
        sys.exit(failed.exit_code)
