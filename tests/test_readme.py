"""What the README shows is what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from envbuilder.deployment.config import Serving, edit_config, read_config
from envbuilder.recipe.load import load_recipe
from tests.helpers.pages import DOCS, ROOT, blocks, name_of, script, steps

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

README = ROOT / "README.md"


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_every_page_is_in_reach() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)\)", README.read_text()))
    assert {name_of(page) for page in DOCS} - linked <= {"docs/index.md"}
    assert [name for name in linked if not (ROOT / name).is_file()] == []


def test_the_recipe(tmp_path: Path) -> None:
    (text,) = blocks(README, "yaml")
    path = tmp_path / "recipes" / "resnet.yaml"
    path.parent.mkdir()
    path.write_text(text)
    recipe = load_recipe(path)
    assert (recipe.python, recipe.cuda) == ("3.12", "cu126")
    assert recipe.verify.model == tmp_path / "models" / "resnet50"


def test_the_configuration(tmp_path: Path) -> None:
    (text,) = blocks(README, "protobuf")
    (tmp_path / "config.pbtxt").write_text(text)
    serving = Serving(backend="python", runtime=None, model_file="torch_runtime.py", environment="/e")
    assert edit_config(read_config(tmp_path), serving).startswith(text)


def test_ci_runs_the_test_command() -> None:
    (command,) = [block.strip() for block in blocks(README, "sh") if "--test" in block]
    ci = ROOT / ".ci" / "run"
    assert f"exec {command}\n" in ci.read_text()
    assert os.access(ci, os.X_OK)


@pytest.mark.torch
@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("cpu_archive", "server")  # in the store of this run
def test_the_tutorial_and_the_workflow_work(tmp_path: Path) -> None:
    """What the tutorial says, to the letter, but for the installation; then, in its folder, the steps of a CI."""
    program = tmp_path / "bin" / "envbuilder"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom envbuilder.cli import main\nmain()\n")
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def bash(text: str, folder: Path) -> str:
        command = ["bash", "-e", "-c", text]
        result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{text}\n{result.stdout}{result.stderr}"
        return result.stdout

    tutorial = ROOT / "docs" / "tutorial.md"
    install = blocks(tutorial, "sh")[0]
    assert "pip install ." in install
    said = bash(script(tutorial).removeprefix(install), tmp_path)
    assert re.search(r"^probe\.compile +passed", said, re.MULTILINE)
    project = tmp_path / "first"
    assert (project / "repository" / "scale" / "1" / "model.py").is_file()

    recipe = project / "recipes" / "first.yaml"  # what was proven of this model is not proven again
    recipe.write_text(f"{recipe.read_text()}\nverify: {{model: ../models/scale}}\n")
    env["GITHUB_OUTPUT"] = str(tmp_path / "output")
    _, *rest = steps(ROOT / "docs" / "how-to" / "ci.md")  # the first one installs envbuilder
    assert [re.findall(r"^ *envbuilder (\w+)", step, re.MULTILINE) for step in rest] == [
        ["lock"],
        ["build"],
        ["verify"],
    ]
    for step in rest:
        bash(step, project)
    assert re.fullmatch(r"archives<<END\nenvs/first-\w+\.tar\.gz\nEND\n", (tmp_path / "output").read_text())
    (report,) = (project / "envs").glob("first-*.tar.gz.xml")
    names = {case.get("name") for case in ElementTree.parse(report).iter("testcase")}
    assert {"manifest.files", "probe.compile", "server.grpc"} <= names


def test_the_answer_of_the_tutorial() -> None:
    """What it sends, through what it serves: each output is half the sum."""
    (asked,) = re.findall(r"-d '(.*)'", (ROOT / "docs" / "tutorial.md").read_text())
    (sent,) = json.loads(asked)["inputs"]
    text = script(ROOT / "docs" / "tutorial.md")
    assert "constant_(self.linear.weight, 0.5)" in text
    assert "zeros_(self.linear.bias)" in text
    answer = [0.5 * sum(sent["data"])] * 2
    assert f"answers `{answer}` to this" in (ROOT / "docs" / "tutorial.md").read_text()


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
