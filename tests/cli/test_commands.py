from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from envbuilder.cli import cli
from envbuilder.cli.commands import OTHER_SPELLINGS, VERBS

HEAVY = ("envbuilder.api", "envbuilder.store", "httpx2", "numpy", "rich", "ruamel", "unearth", "tritonclient")


@pytest.mark.parametrize("name", VERBS)
def test_the_line_of_a_verb_is_the_first_of_its_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").partition("\n")[0] == VERBS[name].summary


def test_help_lists_every_verb_once() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    shown = [
        line.split()[0]
        for line in text.partition("\n\nRecipes and locks:")[2].splitlines()
        if line[:2] == "  "
    ]
    assert shown[: len(VERBS)] == [*VERBS]


def test_help_imports_no_verb() -> None:
    """So that it takes a tenth of a second."""
    code = (
        "import sys; sys.argv = ['envbuilder', '--help']\n"
        "from envbuilder.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('imported', *sorted(set(sys.modules) & set({HEAVY})))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[0].startswith("Usage:")
    assert result.stdout.splitlines()[-1] == "imported"


def test_help_of_a_command_imports_nothing_that_only_its_work_needs() -> None:
    """Of each command, and of each command of a group: the first that imports something is named."""
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "import click\n"
        "from envbuilder.cli import cli\n"
        "from envbuilder.cli.commands import VERBS\n"
        f"heavy, asked = {(*HEAVY, 'envbuilder.config', 'envbuilder.recipe', 'packaging')}, 0\n"
        "def ask(*words):\n"
        "    global asked\n"
        "    result = CliRunner().invoke(cli, [*words, '--help'])\n"
        "    assert result.exit_code == 0 and result.stdout.startswith('Usage:'), result.output\n"
        "    asked += 1\n"
        "    assert not set(sys.modules) & set(heavy), (words, sorted(set(sys.modules) & set(heavy)))\n"
        "for name in VERBS:\n"
        "    ask(name)\n"
        "    command = cli.get_command(click.Context(cli), name)\n"
        "    for inner in getattr(command, 'commands', ()):\n"
        "        ask(name, inner)\n"
        "print(asked)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > len(VERBS) + 2


DOWNLOADS = ("asyncio", "fsspec", "httpx2", "rattler", "requests", "unearth", "urllib3")
"""What only a download, or conda packages, need: half of what a build would import."""
REST = (
    "cryptography",
    "grpc",
    "jinja2",
    "multiprocessing",
    "numpy",
    "python_discovery",
    "rich",
    "virtualenv",
)


@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [
        pytest.param(
            "envbuilder.cli.build, envbuilder.fleet.options, envbuilder.building.build, envbuilder.building.rebuild, "
            "envbuilder.fetch.beside, envbuilder.base.cpython, envbuilder.base.conda_projects",
            DOWNLOADS + REST,
            id="build",
        ),
        pytest.param("envbuilder.cli.build", (*DOWNLOADS, *REST, "installer"), id="verify --help"),
    ],
)
def test_a_warm_command_imports_only_what_it_uses(modules: str, unneeded: tuple[str, ...]) -> None:
    """A build whose archive exists takes about a second of processor time, most of it to import."""
    code = f"import sys, {modules}; print(*sorted(set(sys.modules) & set({unneeded})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("other", OTHER_SPELLINGS)
def test_both_spellings_are_commands(other: str) -> None:
    result = CliRunner().invoke(cli, [other, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: cli {other} ")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("lok", " Did you mean 'lock'?"), ("license", " Did you mean 'licenses'?"), ("zzz", "")],
)
def test_a_verb_that_does_not_exist(typed: str, hint: str) -> None:
    result = CliRunner().invoke(cli, [typed])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: No such command '{typed}'.{hint}"
