from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder import bootstrap

PROJECT = '[project]\ndependencies = []\ntest = [\n  "torch==2.13.0",\n]\n'


class Machine:
    """A checkout in a folder, and the commands that were run on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []
        self.fails: Callable[[str], bool] = lambda command: False

    def note(self, command: list[str]) -> int:
        text = " ".join(command).replace(str(self.root), "ROOT").replace(sys.executable, "PYTHON")
        self.commands.append(
            text.replace("ROOT/.venv/bin/python -m pip --disable-pip-version-check --quiet", "pip")
        )
        if "venv --clear" in text:
            (self.root / ".venv").mkdir(exist_ok=True)
        return 3 if self.fails(self.commands[-1]) else 0

    def call(self, command: list[str], **kwargs: object) -> int:
        return self.note(command)

    def run(self, command: list[str], *, check: bool) -> None:
        if code := self.note(command):
            raise subprocess.CalledProcessError(code, command)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    pip = [str(tmp_path / ".venv/bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    monkeypatch.setattr(bootstrap, "PIP", pip)
    monkeypatch.setattr(subprocess, "call", made.call)
    monkeypatch.setattr(subprocess, "run", made.run)
    monkeypatch.delenv("ENVBUILDER_PYTORCH_INDEX", raising=False)
    return made


SETUP = ["PYTHON -m venv --clear ROOT/.venv", "pip install --editable ROOT"]
QUICKSTART = "ROOT/.venv/bin/envbuilder quickstart --keep x"


def test_a_verb_sets_up_once(machine: Machine) -> None:
    assert bootstrap.main(["quickstart", "--keep", "x"]) == 0
    assert machine.commands == [*SETUP, QUICKSTART]
    machine.commands.clear()
    assert bootstrap.main(["quickstart", "--keep", "x"]) == 0
    assert machine.commands == [QUICKSTART]


def test_tests_are_added_to_it(machine: Machine) -> None:
    bootstrap.main(["quickstart"])
    machine.commands.clear()
    assert bootstrap.main(["--test", "-k", "x"]) == 0
    expected = [
        "pip install --no-deps --no-index torch==2.13.0",
        "pip install --editable ROOT[test]",
        "ROOT/.venv/bin/python tests/run.py -k x",
    ]
    assert machine.commands == expected
    machine.commands.clear()
    bootstrap.main(["--test"])
    assert machine.commands == ["ROOT/.venv/bin/python tests/run.py"]


@pytest.mark.parametrize(
    ("mirror", "index"),
    [
        (None, "https://download.pytorch.org/whl/cpu"),
        ("https://mirror.example.org/whl/", "https://mirror.example.org/whl/cpu"),
    ],
)
def test_torch_comes_from_pytorchs_index_where_no_wheelhouse_has_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, mirror: str | None, index: str
) -> None:
    if mirror is not None:
        monkeypatch.setenv("ENVBUILDER_PYTORCH_INDEX", mirror)
    machine.fails = lambda command: "--no-index" in command
    assert bootstrap.main(["--test"]) == 0
    assert f"pip install --index-url {index} torch==2.13.0" in machine.commands


def test_another_project_or_python_is_set_up_again(machine: Machine) -> None:
    bootstrap.main(["doctor"])
    (machine.root / "pyproject.toml").write_text(f"{PROJECT}# changed\n")
    machine.commands.clear()
    bootstrap.main(["doctor"])
    assert machine.commands[:2] == SETUP


def test_a_setup_that_broke_off_is_begun_again(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.fails = lambda command: command.startswith("pip install")
    assert bootstrap.main(["doctor"]) == 1
    error = capsys.readouterr().err
    assert "error: `" in error
    assert error.endswith("failed with 3: see its lines above\n")
    machine.fails = lambda command: False
    machine.commands.clear()
    assert bootstrap.main(["doctor"]) == 0
    assert machine.commands[:2] == SETUP


def test_the_commands_exit_code_is_ours(machine: Machine) -> None:
    machine.fails = lambda command: command.endswith("envbuilder doctor")
    assert bootstrap.main(["doctor"]) == 3


def test_an_old_python(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(sys, "version", "3.9.2 (default)")
    assert bootstrap.main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        f"error: envbuilder needs Python 3.10 or later; this is 3.9.2 ({sys.executable})\n"
    )
    assert machine.commands == []


def test_a_python_without_ensurepip(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        bootstrap.main(["doctor"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "error: this Python has no ensurepip: install your system's python3-venv, then run this again\n"
    )


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0)])
def test_help(machine: Machine, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> None:
    assert bootstrap.main(arguments) == code
    assert "python3 envbuilder/bootstrap.py quickstart" in capsys.readouterr().out
    assert machine.commands == []


def test_it_needs_nothing_but_the_standard_library() -> None:
    """In a process that has no site-packages, as on a machine with nothing installed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", bootstrap.__file__, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
