from __future__ import annotations

import os

import click
import pytest
from click.testing import CliRunner

from envbuilder.cli.options import shared_options
from envbuilder.util.process import run


@click.command()
@shared_options
def command(as_json: bool, quiet: bool) -> None:
    run(["echo", "--index-url", "https://user:secret@example.org/simple", "a b"], env={"PATH": os.defpath})


def test_verbose_shows_each_program_without_credentials() -> None:
    result = CliRunner().invoke(command, ["-v"])
    assert result.exit_code == 0
    assert result.stderr == "$ echo --index-url 'https://****@example.org/simple' 'a b'\n"


@pytest.mark.parametrize("options", [[], ["--quiet"], ["--json"]])
def test_nothing_is_shown_unasked(options: list[str]) -> None:
    result = CliRunner().invoke(command, options)
    assert (result.exit_code, result.stderr) == (0, "")


def test_nobody_observes_after_the_command() -> None:
    CliRunner().invoke(command, ["--verbose"])
    assert CliRunner().invoke(command, []).stderr == ""
