"""What the README shows is what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from envbuilder import errors
from envbuilder.cli import cli
from envbuilder.config.settings import load_settings
from envbuilder.config.values import StoreKey
from envbuilder.deployment.config import Serving, brought_over, edit_config, read_config
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.matrix import load_matrix
from tests.helpers.trust import Team

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def workflow() -> dict[str, Any]:
    (text,) = [block for block in blocks("yaml") if "jobs:" in block]
    loaded: dict[str, Any] = YAML(typ="safe").load(text)
    return loaded


def commands() -> list[str]:
    """Every envbuilder command that is shown: in a block, in a workflow's step, in a sentence."""
    steps = [step.get("run", "") for step in workflow()["jobs"]["environments"]["steps"]]
    lines = "\n".join([*blocks("sh"), *steps]).splitlines()
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    shown = [line.split("#")[0].strip() for line in lines] + re.findall(r"`(envbuilder [^`]*)`", text)
    return [line for line in shown if line.startswith("envbuilder ")]


def test_there_are_commands() -> None:
    assert len(commands()) > 15


def context_of(group: click.Group) -> click.Context:
    """A context as a call makes it: a command remembers the help options of the first one it sees."""
    return click.Context(group, **group.context_settings)


@pytest.mark.parametrize("line", commands())
def test_commands(line: str) -> None:
    """Each is a verb, and each option is one of it."""
    name, *arguments = shlex.split(line)[1:]
    context = context_of(cli)
    command = cli.get_command(context, name)
    assert command is not None
    if isinstance(command, click.Group):
        command = command.get_command(context, arguments.pop(0))
        assert command is not None
    command.make_parser(context).parse_args(arguments)


def test_an_option_that_is_none_would_be_found() -> None:
    command = cli.get_command(context_of(cli), "lock")
    assert command is not None
    with pytest.raises(click.NoSuchOption):
        command.make_parser(context_of(cli)).parse_args(["--refresh"])


def test_the_recipe(tmp_path: Path) -> None:
    text, *_ = [block for block in blocks("yaml") if "torch:" in block]
    path = tmp_path / "recipes" / "resnet.yaml"
    path.parent.mkdir()
    path.write_text(text)
    recipe = load_recipe(path)
    assert (recipe.python, recipe.cuda, recipe.verify.model) == (
        "3.12",
        "cu126",
        tmp_path / "models" / "resnet50",
    )


def test_the_recipe_with_conda_channels(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("yaml") if "channels:" in block]
    path = tmp_path / "video.yaml"
    path.write_text(text)
    recipe = load_recipe(path)
    assert (recipe.provider, recipe.channels, recipe.conda) == ("conda", ("conda-forge",), ("ffmpeg >=6",))


def test_the_matrix(tmp_path: Path) -> None:
    *_, text = [block for block in blocks("yaml") if "torch:" in block]
    path = tmp_path / "recipes" / "resnet.yaml"
    path.parent.mkdir()
    path.write_text(text)
    cells = load_matrix(["resnet"], tmp_path)
    assert [cell.get().name for cell in cells[:2]] == ["resnet-24_10-cpu", "resnet-24_10-cu126"]
    assert len(cells) == 4


def test_the_configuration(tmp_path: Path) -> None:
    (text,) = blocks("protobuf")
    (tmp_path / "config.pbtxt").write_text(text)
    config = read_config(tmp_path)
    assert brought_over(config) is None
    serving = Serving(backend="python", runtime=None, model_file="torch_runtime.py", environment="/e")
    assert edit_config(config, serving).startswith(text)


def test_the_settings(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "envbuilder.toml").write_text(text)
    team = Team(tmp_path / "keys", "ci")
    settings = load_settings(tmp_path, environ={})
    assert settings.find_links[0] == "/srv/wheels"
    assert settings.index_url == "https://packages.example.org/simple"
    assert settings.pytorch_index == "https://packages.example.org/pytorch"
    assert settings.store == "s3://bucket/envs"
    assert settings.store_trust == (StoreKey(origin=str(team.public), pem=team.public.read_text().strip()),)


def test_exit_codes() -> None:
    shown = {int(code) for code in re.findall(r"\| (\d) \|", README)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert shown == {kind.exit_code for kind in kinds if issubclass(kind, errors.EnvbuilderError)}


def test_ci_runs_the_test_command() -> None:
    (command,) = [block.strip() for block in blocks("sh") if "--test" in block]
    ci = ROOT / ".ci" / "run"
    assert f"exec {command}\n" in ci.read_text()
    assert os.access(ci, os.X_OK)


@pytest.mark.torch
@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("cpu_archive", "server")  # in the store of this run
def test_the_workflow_works(tmp_path: Path) -> None:
    """Its steps, in a repository that has the recipe of a CPU environment and its lock."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name in ("cpu.yaml", "pylock.cpu.toml"):
        shutil.copy(ROOT / "recipes" / name, recipes)
    program = tmp_path / "bin" / "envbuilder"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom envbuilder.cli import main\nmain()\n")
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    steps = [step.get("run", "") for step in workflow()["jobs"]["environments"]["steps"]]
    for step in steps:
        if "envbuilder " in step and not step.startswith("pip install"):
            subprocess.run(["bash", "-e", "-c", step], cwd=tmp_path, env=env, check=True)
    (report,) = (tmp_path / "envs").glob("cpu-*.tar.gz.xml")
    names = {case.get("name") for case in ElementTree.parse(report).iter("testcase")}
    assert {"manifest.files", "probe.compile", "server.grpc"} <= names


def test_the_environment_for_conda_is_what_pip_installs() -> None:
    found = YAML(typ="safe").load((ROOT / "environment.yml").read_text())
    assert found["channels"] == ["conda-forge"]
    *packages, from_pip = found["dependencies"]
    # Everything that envbuilder needs is said once, in pyproject.toml; pip reads it there.
    assert from_pip == {"pip": ["--editable ."]}
    names = {re.split("[=<>]", package)[0] for package in packages}
    assert names == {"python", "pip", "git", "gxx_linux-64"}
    (python,) = [package.partition("=")[2] for package in packages if package.startswith("python")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(python)
    assert (
        f"`conda env create --file environment.yml`, then `conda activate {found['name']}`"
        in (ROOT / "environment.yml").read_text()
    )
