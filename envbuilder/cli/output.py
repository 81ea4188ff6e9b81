"""How a command returns its result: text, JSON, or a file."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import os
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import click

from envbuilder.errors import RecipeError
from envbuilder.util.files import atomic_write
from envbuilder.util.printable import json_text
from envbuilder.util.tempdirs import output_folder


def out(result: object, as_json: bool, text: str = "") -> None:
    """Print *result* as JSON, or *text* instead."""
    click.echo(json_text(plain(result)) if as_json else text)


def suggest(*words: object, quiet: bool) -> None:
    """Say which command comes next, where progress is told: one line, however long, to be copied."""
    if not quiet:
        click.echo(f"next: {shlex.join(map(str, words))}", err=True)


def this_command(*, without: Collection[str]) -> list[str]:
    """Return the words of the running command with the arguments and options it was given, except those *without*.

    A suggestion that forgot one would do something else: deploy in place what was planned for another folder.
    """
    context = click.get_current_context()
    arguments, options = [], []
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.params.get(name)
        from_line = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if name in without or not from_line or given is None:
            continue
        values = [str(value) for value in (given if isinstance(given, tuple) else (given,))]
        if isinstance(parameter, click.Argument):
            arguments += values
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            options.append(max(parameter.opts if given else parameter.secondary_opts, key=len))
        else:
            options += [word for value in values for word in (max(parameter.opts, key=len), value)]
    return ["envbuilder", str(context.info_name), *arguments, *options]


def short(path: Path) -> str:
    """Return *path* as it is called from the current directory, where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def plain(value: Any) -> Any:
    """Convert dataclasses, and the values in them, to JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (Path, datetime.date, enum.Enum)):
        return str(value)
    return value


def check_output(path: Path) -> None:
    """Refuse to write an option's file over what the command reads, or over another of its outputs.

    Raises:
        RecipeError: *path* is named twice on the command line, or is the manifest of an archive that is named.
    """
    from envbuilder.archive.manifest import manifest_beside

    context = click.get_current_context(silent=True)
    given = [
        Path(one)
        for value in (context.params.values() if context is not None else ())
        for one in (value if isinstance(value, tuple) else (value,))
        if isinstance(one, (str, Path)) and one
    ]
    real = os.path.realpath(path)
    if sum(os.path.realpath(one) == real for one in given) > 1:
        raise RecipeError(
            f"{path} is named twice: it would be overwritten", hint="choose another file for the output"
        )
    if any(os.path.realpath(manifest_beside(one)) == real for one in given if one.is_file()):
        raise RecipeError(
            f"{path} is the manifest of the archive: it would be overwritten",
            hint="choose another file for the output",
        )


def write_file(path: Path, text: str) -> None:
    """Write the file that an option names, atomically, through a link to where it leads.

    Raises:
        RecipeError: it is one of the command's inputs, or cannot be written.
    """
    check_output(path)
    try:
        end = path.resolve() if path.is_symlink() else path
        with output_folder(end.parent):
            atomic_write(end, text.encode())
    except (OSError, RuntimeError) as error:  # links in a circle
        said = getattr(error, "strerror", None) or "it is a link to itself"
        raise RecipeError(f"{path} cannot be written: {said}") from error
