"""Every command, recipe, setting and configuration on any page of the documentation is one that works."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from envbuilder.cli import cli
from envbuilder.config.settings import ENVIRONMENT, MODELS, load_settings
from envbuilder.deployment.config import read_config
from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.matrix import load_matrix
from envbuilder.recipe.schema import schema_text
from envbuilder.verification.report import FORMAT, report_schema
from tests.helpers import reference
from tests.helpers.pages import DOCS, PAGES, ROOT, blocks, commands, name_of, steps
from tests.helpers.trust import Team

COMMANDS = [(name_of(page), words) for page in PAGES for words in commands(page)]


def of_language(language: str) -> list[tuple[str, str]]:
    return [(name_of(page), text) for page in PAGES for text in blocks(page, language)]


def as_text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def context_of(group: click.Group) -> click.Context:
    """A context as a call makes it: a command remembers the help options of the first one it sees."""
    return click.Context(group, **group.context_settings)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 60
    assert len({page for page, _ in COMMANDS}) > 12
    assert ("docs/trust.md", ["push", "resnet"]) in COMMANDS  # which sets a variable before it


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=as_text)
def test_a_command_is_one(page: str, words: list[str]) -> None:
    """Each is a verb, and each option is one of it."""
    name, *arguments = words
    context = context_of(cli)
    command = cli.get_command(context, name)
    assert command is not None
    if isinstance(command, click.Group):
        command = command.get_command(context, arguments.pop(0))
        assert command is not None
    # With the group's context, options after the first word would be words.
    parser = command.make_parser(click.Context(command, **cli.context_settings))
    assert parser.parse_args(arguments)[1] == []


def test_an_option_that_is_none_would_be_found() -> None:
    command = cli.get_command(context_of(cli), "lock")
    assert command is not None
    with pytest.raises(click.NoSuchOption):
        command.make_parser(click.Context(command)).parse_args(["a-word", "--refresh"])


@pytest.mark.parametrize(("page", "text"), of_language("yaml"))
def test_a_piece_of_yaml(page: str, text: str, tmp_path: Path) -> None:
    loaded = YAML(typ="safe").load(text)
    if "jobs" in loaded:
        assert steps(ROOT / page)
    elif "repos" in loaded:  # of pre-commit
        (defined,) = YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text())
        assert [hook["id"] for repository in loaded["repos"] for hook in repository["hooks"]] == [
            defined["id"]
        ]
    elif "include" in loaded:  # of GitLab
        assert [one["local"] for one in loaded["include"] if not (ROOT / one["local"]).is_file()] == []
    elif "apiVersion" in loaded:
        assert loaded["kind"]  # of Kubernetes: validated where they are made
    else:
        recipe = {"triton": "25.06", "torch": "2.7.1", "cuda": "cpu", **loaded}
        (tmp_path / "requirements.txt").write_text("")
        (tmp_path / "recipes").mkdir()
        path = tmp_path / "recipes" / "shown.yaml"
        with path.open("w") as file:
            YAML(typ="safe").dump(recipe, file)
        if any(
            isinstance(recipe[key], list) for key in ("triton", "torch", "cuda", "python") if key in recipe
        ):
            assert [cell.get() for cell in load_matrix(["shown"], tmp_path)]
        else:
            assert load_recipe(path).torch == recipe["torch"]


@pytest.mark.parametrize(("page", "text"), of_language("toml"))
def test_a_piece_of_settings(page: str, text: str, tmp_path: Path) -> None:
    for name in ("ci", "release"):
        Team(tmp_path / "keys", name)
    (tmp_path / "envbuilder.toml").write_text(text)
    load_settings(tmp_path, environ={})


@pytest.mark.parametrize(("page", "text"), of_language("protobuf"))
def test_a_piece_of_configuration(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(text)
    assert read_config(tmp_path).text == text


@pytest.mark.parametrize(("page", "text"), of_language("python"))
def test_a_piece_of_python(page: str, text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize(("page", "text"), of_language("json"))
def test_a_piece_of_json(page: str, text: str) -> None:
    json.loads(text)


def test_the_settings_are_those_that_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text()
    (first, *_) = text.partition("| `envbuilder.toml` |")[2].split("\n\n")
    cells = [line.split(" | ")[0] for line in first.splitlines() if line.startswith("| `")]
    shown = [key for cell in cells for key in re.findall(r"`([^`]+)`", cell)]
    (tmp_path / "envbuilder.toml").write_text("zzzzzz = 1\n")
    with pytest.raises(RecipeError) as caught:
        load_settings(tmp_path, environ={})
    known = str(caught.value.hint).removeprefix("known keys: ").split(", ")
    assert sorted(shown) == sorted([*known, f"[{MODELS}]"])
    own = {name for name in ENVIRONMENT if name.startswith("ENVBUILDER_")}
    assert own <= set(re.findall(r"`(ENVBUILDER_\w+)`", text))


@pytest.mark.parametrize(
    ("name", "text", "identifier"),
    [
        ("recipe.schema.json", schema_text(), "urn:envbuilder:schema:recipe:1"),
        (
            "report.schema.json",
            json.dumps(report_schema(), indent=1) + "\n",
            f"urn:envbuilder:schema:report:{FORMAT}",
        ),
    ],
    ids=["recipe", "report"],
)
def test_a_schema_is_that_of_the_code(name: str, text: str, identifier: str) -> None:
    """The site has it under the same name; it is the file that an installed envbuilder has."""
    shown = ROOT / "docs" / "schemas" / name
    assert shown.is_symlink()
    assert shown.resolve() in (ROOT / "recipes" / name, ROOT / "envbuilder" / "verification" / name)
    assert shown.read_text() == text
    assert json.loads(text)["$id"] == identifier


def test_every_language_is_one_that_is_tested() -> None:
    known = {"sh", "yaml", "toml", "protobuf", "python", "text", "dockerfile", "console", "json"}
    for page in PAGES:
        fences = re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
        assert {fence.partition(" ")[0] for fence in fences[::2]} <= known, page


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_says_what_it_is(page: Path) -> None:
    assert page.read_text().startswith("# ")


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    """`python -m tests.helpers.reference` makes it anew."""
    assert (reference.FOLDER / name).read_text() == reference.text_of(name)


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    variables = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}  # MkDocs 1 is what is pinned
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    site = tmp_path / "site"
    assert "envbuilder verify [OPTIONS]" in (site / "reference" / "command-line.html").read_text()
    assert "build-from-source" in (site / "reference" / "recipe.html").read_text()
    assert "Lock" in (site / "reference" / "python.html").read_text()
    for page in site.rglob("*.html"):
        assert re.findall(r"<(?:script|link rel=.stylesheet)[^>]*https?://", page.read_text()) == []
