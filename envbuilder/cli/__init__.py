"""The command line. Nothing outside this package prints, exits or knows click.

In: arguments. Out: text or JSON, and an exit code. A module holds a group of verbs; the group they belong to, and what
becomes of an error, is here.
"""

from __future__ import annotations

import errno
import sys
from typing import Any, NoReturn

import click

from envbuilder.cli.bench import bench
from envbuilder.cli.build import build, size, verify
from envbuilder.cli.deploy import compile_model, deploy, doctor, quickstart
from envbuilder.cli.diff import diff
from envbuilder.cli.inventory import audit, licences, sbom
from envbuilder.cli.lock import import_recipe, init, lock
from envbuilder.cli.provenance import attest
from envbuilder.cli.store import store
from envbuilder.cli.streams import guard_streams
from envbuilder.cli.transfer import alias, pull, push
from envbuilder.errors import EnvbuilderError
from envbuilder.util.interruption import handled
from envbuilder.util.version import VERSION


class _Group(click.Group):
    """Makes text and an exit code of every error, in one place."""

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
                hint = "\n  hint: `envbuilder store prune --limit 5G` frees some"
                _fail(f"no space left on the disk{where}{hint}", 1)
            if error.filename is None:  # a broken pipe, which click handles, or a bug, to be seen whole
                raise
            _fail(f"{error.filename}: {error.strerror}", 1)


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"error: {text}", err=True)
    sys.exit(code)


def main() -> None:
    """Run the command line; where a signal ends it, clean up and say so in a line."""
    with handled():
        run()


def run() -> None:
    """Run the command line; nothing that a terminal obeys leaves it."""
    guard_streams()
    cli()


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Exit codes: 0 done; 2 a recipe or an argument is wrong; 3 a lock is stale; 4 nothing resolves, or a
    download fails; 5 bytes are not what they should be; 6 artifacts make no environment; 7 verification failed;
    8 a model cannot be deployed; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM; 1 anything else.""",
)
@click.version_option(VERSION)
def cli() -> None:
    """Locked, reproducible, verified Python environments for PyTorch models behind NVIDIA Triton.

    \b
    recipe --lock--> lock --build--> archive --verify--> report
                                        \\--deploy--> model repository

    A recipe is a short YAML file in recipes/; `envbuilder init` writes one. Results go to standard output,
    progress to standard error. `envbuilder quickstart` does all of it once, on a sample model.
    """


for _command in (
    init,
    import_recipe,
    lock,
    build,
    verify,
    size,
    sbom,
    licences,
    audit,
    attest,
    diff,
    deploy,
    compile_model,
    push,
    pull,
    alias,
    quickstart,
    doctor,
    bench,
    store,
):
    cli.add_command(_command)
