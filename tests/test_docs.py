"""What the documentation shows is what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import envbuilder
from envbuilder.base.interpreter import Interpreter
from envbuilder.store.local import CACHE_VARIABLE
from tests.deployment.conftest import CONFIG, MODEL
from tests.helpers.indexes import LINUX, Sources
from tests.helpers.plugins import install
from tests.helpers.small import little

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: str) -> list[str]:
    """The blocks of Python on a page."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_file_that_is_named_is_there(page: Path) -> None:
    named = set(re.findall(r"`((?:envbuilder|runtime|tests)/[\w./-]+)`", page.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
    if page.name == "architecture.md":
        assert len(named) > 40


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_that_is_linked_is_there(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_the_packages_of_the_picture_are_those_of_the_contract() -> None:
    picture = (ROOT / "docs" / "architecture.md").read_text().split("```")[1].removeprefix("text\n")
    shown = {word for line in picture.splitlines() for word in re.split(r"\s{3,}", line)[0].split()}
    packages = {path.parent.name for path in (ROOT / "envbuilder").glob("*/__init__.py")}
    assert shown == packages | {"errors", "progress"}


def test_every_verb_is_in_the_table() -> None:
    text = (ROOT / "docs" / "python-api.md").read_text()
    verbs = {name for name in envbuilder.__all__ if name[0].islower() and not name.startswith("plot_")}
    assert verbs == set(re.findall(r"`(\w+)`", text.split("| functions | |")[1].split("\n\n")[0]))


@pytest.fixture
def project(tmp_path: Path, python311: Interpreter, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe that the page speaks of, with indexes of tiny wheels, and its model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))
    sources = Sources(root=tmp_path / "indexes")
    sources.root.mkdir()
    sources.publish("pytorch/cpu", "torch", "2.7.1+cpu", requires=["numpy"], tag=LINUX)
    sources.publish("pypi", "numpy", "1.26.4")
    lines = [f'index-url = "{sources.url("pypi")}"', f'pytorch-index = "{sources.url("pytorch")}"']
    (tmp_path / "envbuilder.toml").write_text("\n".join(lines))
    (tmp_path / "recipes").mkdir()
    exclude = json.dumps(list(little(python311).exclude or ()))
    (tmp_path / "recipes" / "resnet.yaml").write_text(
        f'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.7.1"\ncuda: cpu\npack: {{exclude: {exclude}}}\n'
    )
    (tmp_path / "models" / "resnet" / "1").mkdir(parents=True)
    (tmp_path / "models" / "resnet" / "1" / "model.py").write_text(MODEL)
    (tmp_path / "models" / "resnet" / "config.pbtxt").write_text(CONFIG)
    return tmp_path


def test_a_build_from_python(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build, proof, guarded, session, _ = blocks("python-api.md")
    assert len([line for line in build.splitlines() if line]) <= 10
    names: dict[str, Any] = {}
    exec(build, names)
    report = names["report"]
    assert report.archive.parent == Path("envs")
    assert names["deployment"].folder == project / "repository" / "resnet"
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [f"{report.archive} {report.sha256}", names["deployment"].environment_path]

    monkeypatch.setattr(
        "envbuilder.verification.verify.verify",
        lambda archive, session, request: SimpleNamespace(passed=archive.is_file(), request=request),
    )
    exec(proof, names)
    assert names["proof"].request.releases == ("24.10", "25.06")
    exec(guarded, names)  # it is not the program here
    exec(session, names)
    assert names["air_gapped"].store.root == project / "store"


def test_the_layout_that_is_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, _, _, _, layout = blocks("python-api.md")
    team = str(project / "team")
    source = layout.replace("/srv/team/environments", team)
    places = {"envbuilder.layouts/team": "TeamLayout"}
    install(project / "site", monkeypatch, name="acme-layout", source=source, entry_points=places)
    names: dict[str, Any] = {}
    exec(build.replace('layout="shared"', 'layout="team"'), names)
    assert names["deployment"].environment_path == f"{team}/{names['report'].archive.name}"
    assert (Path(team) / names["report"].archive.name).is_file()
