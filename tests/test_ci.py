"""What `ci/` and the hook of pre-commit run is there, with the options that they give."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from envbuilder.cli import cli
from envbuilder.deployment.options import ENVIRONMENTS
from envbuilder.store.local import CACHE_VARIABLE
from tests.helpers.images import skopeo, umoci
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


def test_the_image_is_built(tmp_path: Path) -> None:
    """With nothing in place of Triton's image, which is not here: what is copied where, and what is started."""
    (tmp_path / "repository" / "net").mkdir(parents=True)
    (tmp_path / "repository" / "net" / "config.pbtxt").write_text("max_batch_size: 8\n")
    (tmp_path / ENVIRONMENTS / "net-0123456789ab").mkdir(parents=True)
    (tmp_path / ENVIRONMENTS / "net-0123456789ab" / "python3").write_text("")
    places = ["--storage-driver", "vfs", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]
    build = ["bud", "--from", "scratch", "--build-arg", "TRITON=25.06", "-f", str(CI / "Dockerfile")]
    command = ["buildah", *places, *build, "-t", f"oci:{tmp_path / 'image'}:made", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tree = umoci(tmp_path / "image", "made", tmp_path / "bundle", rootless=os.geteuid() != 0)
    assert {name for name, (kind, _, _) in tree.items() if kind == "file"} == {
        "models/repository/net/config.pbtxt",
        "models/environments/net-0123456789ab/python3",
    }
    config = json.loads(skopeo("inspect", "--config", f"oci:{tmp_path / 'image'}:made"))["config"]
    assert config["Cmd"] == ["tritonserver", "--model-repository=/models/repository"]
    assert set(config["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "8002/tcp"}


def test_the_hook_of_pre_commit_refuses_a_stale_lock(tmp_path: Path) -> None:
    """As pre-commit runs it: in the repository's folder, if one of its files changed, without their names."""
    (one,) = loaded(ROOT / ".pre-commit-hooks.yaml")
    assert one["pass_filenames"] is False
    assert [
        bool(re.search(one["files"], name)) for name in ("recipes/cpu.yaml", "envbuilder.toml", "a.py")
    ] == [True, True, False]
    recipe = tmp_path / "recipes" / "cpu.yaml"
    recipe.parent.mkdir()
    for name in ("cpu.yaml", "pylock.cpu.toml"):
        shutil.copy(ROOT / "recipes" / name, recipe.parent)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    program = Path(sys.executable).with_name("envbuilder")
    words = shlex.split(one["entry"])
    assert words[0] == program.name

    def run() -> int:
        env = {**os.environ, "HOME": str(tmp_path), CACHE_VARIABLE: str(tmp_path / "store")}
        return subprocess.run([program, *words[1:]], cwd=tmp_path, env=env, check=False).returncode

    assert run() == 0
    recipe.write_text(recipe.read_text() + "prereleases: true\n")
    assert run() == 3
