from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envbuilder import api, errors
from tests.cli.conftest import call


def row(state: str, error: errors.EnvbuilderError | None = None) -> SimpleNamespace:
    cells = ("m", state, "-", "a.tar.gz", "why")
    return SimpleNamespace(
        state=state,
        error=error,
        cells=lambda: cells,
        model=SimpleNamespace(name="m"),
        now="",
        then="a",
        why="why",
    )


def answer(monkeypatch: pytest.MonkeyPatch, planned: bool, *rows: SimpleNamespace) -> None:
    done = SimpleNamespace(
        planned=planned,
        rows=rows,
        changes=[one for one in rows if one.state == "change"],
        failures=[one for one in rows if one.error is not None],
    )
    monkeypatch.setattr(api, "apply", lambda *_, **__: done)
    Path("models").mkdir()


def test_a_plan_with_something_to_do_is_exit_code_9(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, True, row("change"), row("current"))
    done = call("apply", "models", "--plan")
    assert done.stdout.splitlines()[-1] == "2 models: 1 change, 1 current"
    assert "environment now" in done.stdout
    assert done.exit_code == 9


def test_after_a_plan_comes_the_same_command_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, True, row("change"))
    done = call("apply", "--plan", "models", "-o", "s3://b/m", "--no-server", "--interpreter-change")
    assert done.stderr == "next: envbuilder apply models --output s3://b/m --no-server --interpreter-change\n"


def test_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, False, row("change"), row("refused", errors.DeployError("no")))
    done = call("apply", "models")
    assert done.stdout.splitlines()[-1] == "2 models: 1 deployed, 1 refused"
    assert done.exit_code == 8


def test_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, False, row("current"))
    said: dict[str, Any] = json.loads(call("apply", "models", "--json").stdout)
    assert said["models"] == [{"model": "m", "state": "current", "now": None, "then": "a", "why": "why"}]


def test_status_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    one = SimpleNamespace(cells=lambda: ("m", "a", "small", "current", "25.06", "yes", "", "1 B", ""))
    monkeypatch.setattr(api, "status", lambda *_, **__: [one])
    Path("models").mkdir()
    heading, line = call("status", "models").stdout.splitlines()
    assert heading.split()[:3] == ["model", "environment", "recipe"]
    assert line.split()[:4] == ["m", "a", "small", "current"]
