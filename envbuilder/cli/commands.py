"""The commands: the module of each, and its line in `envbuilder --help`, which must not import them all.

`envbuilder --help` takes a tenth of a second; importing every command takes ten times that.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import click


class Verb(NamedTuple):
    """One command of the command line."""

    module: str
    """Its module in :mod:`envbuilder.cli`."""
    name: str
    """The name of the click command in that module."""
    summary: str
    """The first sentence of its help."""


SECTIONS: Final[Mapping[str, Mapping[str, Verb]]] = MappingProxyType(
    {
        "Recipes and locks": {
            "init": Verb("lock", "init", "Write a commented recipe to start from."),
            "import": Verb("lock", "import_recipe", "Convert another tool's file to a recipe."),
            "lock": Verb("lock", "lock", "Write locks: every artifact by version and sha256."),
        },
        "Archives": {
            "build": Verb("build", "build", "Build the archives of locks."),
            "verify": Verb("build", "verify", "Prove that Triton loads an archive."),
            "report": Verb("report", "report", "Write a page about an archive, for a browser."),
            "size": Verb("build", "size", "Show what takes space in an archive."),
            "image": Verb("image", "image", "Write the OCI image of an environment."),
            "diff": Verb("diff", "diff", "Show what changed from A to B."),
        },
        "Model repositories": {
            "deploy": Verb("deploy", "deploy", "Put a model, an archive and the runtime into a repository."),
            "compile": Verb("deploy", "compile_model", "Compile a deployed model ahead of time."),
            "apply": Verb("apply", "apply", "Bring a whole repository up to date with its recipes."),
            "patch": Verb("patch", "patch", "Patch every environment affected by an advisory."),
            "status": Verb(
                "apply", "status", "Show the environment and state of each model in a repository."
            ),
        },
        "Supply chain": {
            "sbom": Verb("inventory", "sbom", "Write an SBOM of an archive in CycloneDX format."),
            "licenses": Verb(
                "inventory", "licences", "List the licences in an archive and check them against a policy."
            ),
            "audit": Verb("inventory", "audit", "Check the packages in an archive against known advisories."),
            "attest": Verb("provenance", "attest", "Create and sign SLSA provenance."),
        },
        "Stores": {
            "push": Verb("transfer", "push", "Upload an archive to the remote store."),
            "pull": Verb("transfer", "pull", "Download an archive from the remote store."),
            "alias": Verb("transfer", "alias", "Show or move an alias."),
            "store": Verb("store", "store", "Manage the local store of artifacts and segments."),
        },
        "This machine": {
            "quickstart": Verb("deploy", "quickstart", "Run the whole pipeline once, on a sample model."),
            "doctor": Verb("deploy", "doctor", "Diagnose this machine: what it can do and what is missing."),
            "bench": Verb("bench", "bench", "Run benchmarks on this machine."),
            "completion": Verb("shell", "completion", "Print a shell's completion script."),
            "man": Verb("shell", "man", "Write the manual pages."),
        },
    }
)
"""Every command, by its heading in the help."""

VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    {name: verb for section in SECTIONS.values() for name, verb in section.items()}
)
OTHER_SPELLINGS: Final[Mapping[str, str]] = MappingProxyType({"licences": "licenses"})
"""Accepted names that are not listed in the help."""


class LazyGroup(click.Group):
    """A group that imports its commands on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the sections."""
        return [*VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command *cmd_name* and return it."""
        verb = VERBS.get(OTHER_SPELLINGS.get(cmd_name, cmd_name))
        if verb is None:
            return None
        command = getattr(importlib.import_module(f"envbuilder.cli.{verb.module}"), verb.name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command named by the first of *args*, under the name that was typed.

        Raises:
            click.UsageError: no such command; suggests the closest one.
        """
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = difflib.get_close_matches(args[0], [*VERBS, *OTHER_SPELLINGS], n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        _, command, rest = super().resolve_command(ctx, args)
        return args[0], command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, without importing any."""
        width = max(map(len, VERBS))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), verb.summary) for name, verb in verbs.items()])
