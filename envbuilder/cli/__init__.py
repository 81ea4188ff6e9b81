"""The command line. Nothing outside this package prints, exits or knows click.

In: arguments. Out: text or JSON, and an exit code. Each module holds a group of commands; their common group and
the error handling are here.
"""

from __future__ import annotations

import errno
import sys
from typing import Any, NoReturn

import click

from envbuilder.cli.commands import LazyGroup
from envbuilder.cli.streams import OutputError, guard_streams
from envbuilder.errors import EnvbuilderError
from envbuilder.util.interruption import handled
from envbuilder.util.version import VERSION


class _Group(LazyGroup):
    """Converts every error into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EnvbuilderError as error:
            _fail(str(error), error.exit_code)
        except MemoryError:
            _fail("out of memory", 1)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                where = f" under {error.filename}" if error.filename else ""
                hint = "\n  hint: `envbuilder store prune --limit 5G` frees space"
                _fail(f"no space left on the disk{where}{hint}", 1)
            if (
                error.filename is None
            ):  # a broken pipe, which click handles, or a bug, shown with its traceback
                raise
            _fail(f"{error.filename}: {error.strerror}", 1)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; on a signal, clean up and print one line."""
    with handled():
        run()


def run() -> None:
    """Run the command line; terminal control sequences in its output are escaped."""
    guard_streams()
    try:
        cli()
    except OutputError as error:  # of --help, for example, which is not a command
        _fail(str(error), error.exit_code)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Exit codes: 0 success; 2 invalid recipe or argument; 3 stale lock; 4 resolution or
    download failed; 5 integrity check failed; 6 assembly failed; 7 verification failed;
    8 deployment failed; 9 `--plan` found something to do; 129, 130, 143 ended by SIGHUP,
    SIGINT, SIGTERM; 1 any other error.""",
)
@click.version_option(VERSION)
def cli() -> None:
    """Locked, reproducible, verified Python environments for PyTorch models behind NVIDIA Triton.

    \b
    recipe --lock--> lock --build--> archive --verify--> report
                                        \\--deploy--> model repository

    A recipe is a short YAML file in recipes/; `envbuilder init` writes one. Results go to standard output,
    progress to standard error. `envbuilder quickstart` runs the whole pipeline on a sample model.
    """
