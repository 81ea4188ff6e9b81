"""Shell completion and manual pages: ``completion`` and ``man``."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from envbuilder.cli.options import shared_options
from envbuilder.cli.output import out
from envbuilder.util.extras import needs_extra
from envbuilder.util.tempdirs import output_folder
from envbuilder.util.version import VERSION

_PROGRAM = "envbuilder"
_VARIABLE = "_ENVBUILDER_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's completion script.

    It completes commands, options and files. To install it:

    \b
    bash  envbuilder completion bash > ~/.local/share/bash-completion/completions/envbuilder
    zsh   envbuilder completion zsh > "${fpath[1]}/_envbuilder"
    fish  envbuilder completion fish > ~/.config/fish/completions/envbuilder.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click validated the choice
    click.echo(kind(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())


@click.command()
@click.option(
    "--output",
    "-o",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("man1"),
    show_default=True,
    help="The folder to write to; `man envbuilder` finds it if it is in a folder of MANPATH.",
)
@shared_options
@click.pass_context
def man(ctx: click.Context, output: Path, as_json: bool, quiet: bool) -> None:
    """Write the manual pages.

    One page for envbuilder and one for each command, in the format of man(1). Requires the extra `docs`.
    """
    with needs_extra("docs", "envbuilder man"):
        from click_man.core import write_man_pages
    with output_folder(output):
        write_man_pages(_PROGRAM, eager(ctx.find_root().command), version=VERSION, target_dir=str(output))
    pages = sorted(str(page) for page in output.glob("envbuilder*.1"))
    out({"pages": pages}, as_json, "\n".join(pages))


def eager(command: click.Command) -> click.Command:
    """Return a copy of *command* with all its subcommands imported: click-man iterates over the mapping of them."""
    made = copy.copy(command)
    made.short_help = (command.help or "").partition("\n")[
        0
    ]  # otherwise click-man calls a deprecated function of click
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = {name: command.get_command(context, name) for name in command.list_commands(context)}
        parts: dict[str, Any] = {
            "help": command.help,
            "short_help": made.short_help,
            "params": command.params,
        }
        return click.Group(command.name, {name: eager(one) for name, one in found.items() if one}, **parts)
    return made
