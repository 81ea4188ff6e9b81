"""Options and arguments that several commands share."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from envbuilder.cli.terminal import make_reporter

if TYPE_CHECKING:
    from envbuilder.store.session import Session

_CREDENTIALS: Final = re.compile(r"(\b\w[\w+.-]*://)[^/@\s]+@")
"""User and password in a URL that is passed to uv as an argument."""

_F = TypeVar("_F", bound=Callable[..., Any])


def shared_options(command: _F) -> _F:
    """Add the options that every command has: ``--json``, ``--quiet`` and ``--verbose``."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)
    command = click.option("--quiet", "-q", is_flag=True, help="Show no progress.")(command)
    return click.option(
        "--verbose",
        "-v",
        is_flag=True,
        expose_value=False,
        callback=_show_programs,
        help="Show each program that is run.",
    )(command)


def json_object(_: click.Context, option: click.Parameter, text: str | None) -> dict[str, Any] | None:
    """Parse the value of an option as a JSON object (callback of click).

    Raises:
        click.BadParameter: it is not JSON, or not an object.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param=option) from error
    if not isinstance(value, dict):
        raise click.BadParameter(f"a JSON object is expected, not {text}", param=option)
    return value


def _show_programs(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from envbuilder.util.process import observed

        ctx.with_resource(observed(_show_program))


def _show_program(args: Sequence[str]) -> None:
    words = (_CREDENTIALS.sub(r"\1****@", str(arg)) for arg in args)
    click.echo(f"$ {shlex.join(words)}", err=True)


def sources_option(command: _F) -> _F:
    """Add ``--find-links`` to *command*."""
    return click.option(
        "--find-links",
        multiple=True,
        metavar="WHEELHOUSE",
        help="A directory or page of wheels, searched before any index. Repeatable.",
    )(command)


def interpreter_option(command: _F) -> _F:
    """Add ``--interpreter-change`` to *command*."""
    return click.option(
        "--interpreter-change",
        is_flag=True,
        help="Use this machine's CPython even if it is not the locked one; the archive will not be byte-identical.",
    )(command)


def output_option(command: _F) -> _F:
    """Add ``--output`` to *command*: where archives go."""
    return click.option(
        "--output",
        "-o",
        metavar="DIR",
        type=click.Path(path_type=Path),
        default=Path("envs"),
        show_default=True,
        help="Directory for archives.",
    )(command)


def open_session(*, quiet: bool, find_links: Sequence[str] = ()) -> Session:
    """Open the session of one command: its progress goes to standard error, unless *quiet*."""
    from envbuilder.store.session import Session

    return Session.open(find_links=find_links, reporter=make_reporter(quiet=quiet))


if TYPE_CHECKING:
    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # generic only in later releases of click

_ARCHIVE = click.Path(path_type=Path, exists=True)
_ARCHIVE.name = "file"  # folders are accepted too; the error for a missing path says file
archive_argument = click.argument("archive", type=_ARCHIVE)
recipes_argument = click.argument("recipes", nargs=-1, metavar="[RECIPE]...")


class _ArchiveOrImage(_Text):
    """An existing archive, or an image: a layout or a registry reference."""

    name = "archive"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from envbuilder.images.named import split_name

        if not value.startswith("oci://"):
            local = split_name(value)
            value_on_disk = value if local is None else str(local[0])
            click.Path(exists=True, dir_okay=Path(value_on_disk).is_dir()).convert(value_on_disk, param, ctx)
        return value


image_argument = click.argument("archive", type=_ArchiveOrImage())
