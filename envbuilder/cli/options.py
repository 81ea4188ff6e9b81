"""Options and arguments that several verbs have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


def shared_options(command: _F) -> _F:
    """Give *command* what every verb has: ``--json`` and ``--quiet``."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)
    return click.option("--quiet", "-q", is_flag=True, help="Show no progress.")(command)


def sources_option(command: _F) -> _F:
    """Give *command* ``--find-links``."""
    return click.option(
        "--find-links",
        multiple=True,
        metavar="WHEELHOUSE",
        help="A folder or page of wheels that counts before any index. May be given several times.",
    )(command)


archive_argument = click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
recipes_argument = click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
