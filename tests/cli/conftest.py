from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.cli import cli
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import CACHE_VARIABLE
from envbuilder.store.session import Session
from envbuilder.verification.report import Check, Report
from envbuilder.verification.verify import VerifyRequest
from tests.helpers.small import little
from tests.helpers.wheels import small_lock, write_wheel


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@dataclass(frozen=True)
class Workspace:
    """A folder with a recipe, its lock, and the wheels of it."""

    folder: Path
    recipe: Recipe
    lock: Lock

    def build(self, *options: object) -> Result:
        return call("build", "--find-links", self.folder / "wheels", *options)


@pytest.fixture
def workspace(tmp_path: Path, python311: Interpreter) -> Workspace:
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(python311).exclude or ())
    path = tmp_path / "recipes" / "small.yaml"
    path.parent.mkdir()
    path.write_text(
        'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\npack:\n  exclude:\n' + exclude
    )
    recipe = load_recipe(path)
    wheels = [
        write_wheel(tmp_path / "wheels", "alpha", files={"alpha/__init__.py": b"VALUE = 1\n"}),
        write_wheel(tmp_path / "wheels", "beta", files={"beta.py": b"", "beta/tests/a.py": b"x = 1\n"}),
    ]
    locked = small_lock(recipe, wheels, describe(python311))
    write_lock(locked, tmp_path / "recipes" / "pylock.small.toml")
    return Workspace(tmp_path, recipe, locked)


def start(*args: object, code: str | None = None) -> subprocess.Popen[str]:
    """Start the command line, or *code* that ends in it, in a process of its own."""
    command = [sys.executable, "-c", code or "from envbuilder.cli import main; main()"]
    return subprocess.Popen(
        [*command, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(*checks: Check) -> Report:
    return Report(
        archive="envs/x.tar.gz",
        sha256="0" * 64,
        size=10,
        unpacked_size=20,
        recipe="x",
        releases=("25.06",),
        isolated=True,
        server=None,
        checks=checks,
        seconds=61.7,
    )


def verified(
    monkeypatch: pytest.MonkeyPatch, report: Report, asked: list[VerifyRequest] | None = None
) -> None:
    """Let every verification end in *report*, and note in *asked* what was asked."""

    def verify(
        archive: Path, session: Session, request: VerifyRequest, *, write: Callable[[Report], None]
    ) -> Report:
        if asked is not None:
            asked.append(request)
        write(report)
        return report

    monkeypatch.setattr("envbuilder.verification.verify.verify", verify)


def lines_of(*, terminal: bool = False, width: int = 200) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=width, highlight=False, color_system=None), out
