from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from envbuilder.base.interpreter import Interpreter
from envbuilder.cli import cli
from envbuilder.fleet.repository.survey import Model
from envbuilder.store.local import CACHE_VARIABLE
from envbuilder.store.session import Session
from envbuilder.verification.report import Report, failed, passed
from tests.helpers.workspace import Workspace, make_workspace

RULES = """
[models]
"runtime*" = {recipe = "small", layout = "shared"}
"own1" = "other"
"*" = "small"
"""


@pytest.fixture
def workspace(tmp_path: Path, python311: Interpreter, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    made = make_workspace(tmp_path / "work", python311)
    monkeypatch.chdir(made.folder)
    settings = made.folder / "envbuilder.toml"
    settings.write_text(settings.read_text().replace(f'store = "file://{made.remote}"\n', "") + RULES)
    inner = made.folder / "recipes" / "envbuilder.toml"
    inner.write_text(inner.read_text().replace(f'store = "file://{made.remote}"\n', ""))
    return made


class Verifying:
    """Says of every pair that it fits, but for the models that are named."""

    def __init__(self, *wrong: str) -> None:
        self.wrong = wrong
        self.asked: list[tuple[str, str]] = []

    def __call__(self, archive: Path, model: Model, session: Session) -> Report:
        self.asked.append((archive.name, model.name))
        found = (
            failed("probe.answer", "wrong", "mend it")
            if model.name in self.wrong
            else passed("probe.answer", "right")
        )
        return Report(
            archive=archive.name,
            sha256=None,
            size=1,
            unpacked_size=1,
            recipe="small",
            releases=("pytriton-0.7.0",),
            isolated=True,
            server=None,
            checks=(found,),
            seconds=1.0,
        )


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args), "-q"], catch_exceptions=False)
