from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envbuilder import api
from envbuilder.deployment.options import DeployOptions
from tests.cli.conftest import call


def test_quickstart_and_doctor_print_what_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "quickstart", lambda **_: SimpleNamespace(lines=lambda: ["answer +1.0"]))
    assert call("quickstart").stdout == "answer +1.0\n"
    tables = [("Machine", ("what", "found"), [("GPU", "none")]), ("Recipes", ("recipe",), [])]
    monkeypatch.setattr(api, "doctor", lambda *_, **__: SimpleNamespace(tables=lambda: tables))
    assert call("doctor").stdout == "Machine\nwhat  found\nGPU   none\n\nRecipes\nrecipe\n\n"


def test_deploy_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def deploy(archive: Path, model: Path, repository: str, options: DeployOptions, **others: Any) -> object:
        asked.update(others, archive=archive, model=model, repository=repository, options=options)
        return SimpleNamespace(lines=lambda: ["one", "two"])

    monkeypatch.setattr(api, "deploy", deploy)
    Path("a.tar.gz").write_text("")
    result = call("deploy", "a.tar.gz", "m", "--repository", "r", "--layout", "shared", "--shared", "s", "-q")
    assert (result.stdout, result.stderr) == ("one\ntwo\n", "")
    del asked["session"]
    assert asked == {
        "archive": Path("a.tar.gz"),
        "model": Path("m"),
        "repository": "r",
        "options": DeployOptions(layout="shared", shared=Path("s")),
        "precompile": False,
        "complete": False,
    }
    result = call("deploy", "a.tar.gz", "m", "--repository", "r")
    assert result.stderr == f"next: tritonserver --model-repository {Path.cwd() / 'r'}\n"
    in_container = SimpleNamespace(
        lines=lambda: [], is_for_a_container=True
    )  # no server of this machine finds it
    monkeypatch.setattr(api, "deploy", lambda *_, **__: in_container)
    assert call("deploy", "a.tar.gz", "m", "--repository", "r").stderr == ""
