"""Options and arguments that several verbs have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from envbuilder.cli.terminal import make_reporter
from envbuilder.store.session import Session

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


def open_session(*, quiet: bool, find_links: Sequence[str] = ()) -> Session:
    """Open the session of one command: its progress goes to standard error, unless *quiet*."""
    return Session.open(find_links=find_links, reporter=make_reporter(quiet=quiet))


archive_argument = click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
recipes_argument = click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
