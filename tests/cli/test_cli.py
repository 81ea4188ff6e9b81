from __future__ import annotations

import errno
import os
import signal

import click
import pytest

from envbuilder import __version__, api, errors
from envbuilder.cli import cli
from envbuilder.cli.commands import VERBS
from tests.cli.conftest import call, start

# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError, 2),
        (errors.StaleLockError, 3),
        (errors.ResolveError, 4),
        (errors.FetchError, 4),
        (errors.IntegrityError, 5),
        (errors.AssembleError, 6),
        (errors.VerifyError, 7),
        (errors.DeployError, 8),
        (errors.EnvbuilderError, 1),
    ],
)
def test_an_error_is_text_on_stderr_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: type[errors.EnvbuilderError], code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("what is wrong, where", hint="what to do")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build", "small")
    assert result.stderr == "error: what is wrong, where\n  hint: what to do\n"
    assert (result.stdout, result.exit_code) == ("", code)


def test_a_full_disk_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "envs/a")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build")
    assert result.stderr == (
        "error: no space left on the disk under envs/a\n"
        "  hint: `envbuilder store prune --limit 5G` frees space\n"
    )
    assert result.exit_code == 1


def test_a_file_that_cannot_be_read_is_named_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "recipes/a.yaml")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build")
    assert (result.stderr, result.exit_code) == ("error: recipes/a.yaml: Permission denied\n", 1)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no file in it")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build")
    assert str(result.exception) == "no file in it"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["lock", "--resolve"], "Error: --resolve requires --check\n"),
        (
            ["lock", "--check", "--fetch"],
            "Error: --check cannot be combined with --upgrade, --upgrade-package or --fetch\n",
        ),
        (["verify", "gone"], "Error: Invalid value for 'ARCHIVE': File 'gone' does not exist.\n"),
        (["size", "gone"], "Error: Invalid value for 'ARCHIVE': File 'gone' does not exist.\n"),
        (
            ["deploy", "gone", "m", "--repository", "r"],
            "Error: Invalid value for 'ARCHIVE': File 'gone' does",
        ),
        (["build", "--threads", "0"], "Error: Invalid value for '--threads' / '-j': 0 is not in the range"),
        (["push", "gone"], "error: no recipe 'gone' in "),
        (["pull", "gone"], "error: no recipe 'gone' in "),
        (
            ["pull", "gone:stable"],
            'error: no remote store is configured\n  hint: set store = "s3://bucket/folder" in envbuilder.toml',
        ),
        (["alias", "stable"], "error: no remote store is configured\n"),
        (["alias", "a:b", "c", "--back"], "Error: --back cannot be combined with ARCHIVE\n"),
        (["pack"], "Error: No such command 'pack'. Did you mean 'patch'?\n"),
        (["lock", "--chekc"], "--chekc"),
        (["build", "--no-pull"], "Error: --no-pull requires --cluster\n"),
        (["build", "--check", "--matrix"], "Error: --check cannot be combined with --cluster, "),
        (["build", "gone"], "error: no recipe 'gone' in "),
        (["build"], "error: no recipes in "),
        (
            ["store", "prune", "--limit", "much"],
            "error: --limit: 'much' is not a size\n  hint: for example 500M",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str], said: str) -> None:
    result = call(*args)
    assert said in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


# -- help ------------------------------------------------------------------------------------------


def test_help_names_every_verb_whole_and_every_exit_code() -> None:
    result = call("--help")
    assert result.exit_code == 0
    listed = result.stdout.partition("Recipes and locks:\n")[2].partition("Exit codes:")[0].splitlines()
    commands = [line for line in listed if line.startswith("  ") and line.split()]
    assert sorted(line.split()[0] for line in commands) == sorted(VERBS)
    assert not [line for line in commands if line.endswith("...")]
    text = " ".join(result.stdout.split())
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    assert [code for code in sorted(codes) if f" {code} " not in text.partition("Exit codes:")[2]] == []


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_says_what_it_does_and_each_option(verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: cli {verb} ")
    paragraphs = result.stdout.partition("Options:")[0].strip().split("\n\n")
    assert len(paragraphs) >= 3, "usage, one line, more about it"
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    described = [parameter for parameter in command.params if getattr(parameter, "opts", [""])[0][:1] == "-"]
    assert [option.name for option in described if not getattr(option, "help", None)] == []
    assert call(verb, "-h").stdout == result.stdout


@pytest.mark.parametrize(
    "verb",
    [
        *(verb for verb in VERBS if verb not in ("bench", "completion", "store")),
        "bench start",
        "store info",
        "store prune",
        "store clear",
    ],
)
def test_every_verb_can_be_quiet_and_speak_json(verb: str) -> None:
    text = call(*verb.split(), "--help").stdout
    assert "--json" in text
    assert "-q, --quiet" in text


def test_the_version_is_the_packages() -> None:
    assert call("--version").stdout == f"cli, version {__version__}\n"


# -- the verbs -------------------------------------------------------------------------------------


# -- signals ---------------------------------------------------------------------------------------

_WAITING = """
import sys, time
from envbuilder import api, cli

def wait(names):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

api.load_recipes = wait
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_signal_cleans_up_and_says_so(number: signal.Signals, code: int, said: str) -> None:
    process = start("build", code=_WAITING)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("cleaned up\n", said, code)
