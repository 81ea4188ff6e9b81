"""What `ci/` and the hook of pre-commit run is there, with the options that they give."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from envbuilder.cli import cli
from envbuilder.deployment.options import ENVIRONMENTS
from tests.helpers.pages import ROOT, action_steps

CI = ROOT / "ci"


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def github() -> str:
    """What the action runs, with the defaults of its inputs."""
    return "\n".join(action_steps(CI / "github", {"envbuilder": "X"}))


def gitlab() -> str:
    """What the jobs of the template run, with its variables."""
    template = loaded(CI / "gitlab" / "envbuilder.yml")
    text = "\n".join("\n".join(job.get("script", [])) for job in template.values())
    for name, value in template["variables"].items():
        text = text.replace(f"${name}", value)
    return text


def dockerfile() -> str:
    """What its comment tells to run before."""
    return re.sub(r"\\\n#", " ", (CI / "Dockerfile").read_text()).replace("#", "")


def hook() -> str:
    """What pre-commit runs."""
    (one,) = loaded(ROOT / ".pre-commit-hooks.yaml")
    return str(one["entry"])


@pytest.mark.parametrize(
    ("text", "verbs"),
    [
        (github(), ["lock", "build", "verify"]),
        (gitlab(), ["lock", "build", "verify"]),
        (dockerfile(), ["deploy"]),
        (hook(), ["lock"]),
    ],
    ids=["github", "gitlab", "dockerfile", "pre-commit"],
)
def test_its_commands_are_some(text: str, verbs: list[str]) -> None:
    found = [shlex.split(line)[1:] for line in re.findall(r"^ *(envbuilder .*)$", text, re.MULTILINE)]
    assert [words[0] for words in found] == verbs
    for name, *arguments in found:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        context = click.Context(
            command, **cli.context_settings
        )  # of the group, options after a word are words
        assert command.make_parser(context).parse_args(arguments)[1] == []


def test_the_image_holds_what_a_shared_deployment_places() -> None:
    """The folders that `deploy --layout shared` makes, at the place that the page and the comment name."""
    text = (CI / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", text, re.MULTILINE))
    assert arguments == {"REPOSITORY": "repository", "ENVIRONMENTS": ENVIRONMENTS}
    (place,) = re.findall(r"^COPY \$\{ENVIRONMENTS\} (\S+)$", text, re.MULTILINE)
    page = (ROOT / "docs" / "how-to" / "dockerfile.md").read_text()
    assert f"--shared-as {place}" in text
    assert f"--layout shared --shared-as {place}" in page
