from __future__ import annotations

import json
from pathlib import Path

import pytest

from envbuilder import api, errors
from envbuilder.fleet.patching.rows import PatchedRecipe
from tests.cli.conftest import call


def answer(monkeypatch: pytest.MonkeyPatch, *rows: PatchedRecipe) -> None:
    monkeypatch.setattr(api, "patch", lambda *_, **__: rows)


def test_who_holds_it_is_exit_code_9(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, PatchedRecipe(recipe="a", state="affected", found=("beta 1.0",)))
    done = call("patch", "CVE-1", "--plan")
    assert done.stdout.splitlines()[-1] == "1 recipe: 1 affected"
    assert "beta 1.0" in done.stdout
    assert done.exit_code == 9


def test_after_a_plan_comes_the_same_command_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, PatchedRecipe(recipe="a", state="affected", found=("beta 1.0",)))
    for name in ("advisories", "one", "two"):
        Path(name).mkdir()
    options = ["--repository", "one", "--repository", "two", "--advisories", "advisories"]
    assert (
        call("patch", "CVE-1", *options, "--plan").stderr
        == f"next: envbuilder patch CVE-1 {' '.join(options)}\n"
    )


def test_what_went_wrong_decides_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    row = PatchedRecipe(
        recipe="a", state="refused", error=errors.ResolveError("nothing fits"), markdown="- beta"
    )
    answer(monkeypatch, row)
    done = call("patch", "CVE-1", "--json", "--markdown", "out/a.md")
    assert json.loads(done.stdout)[0]["error"] == "nothing fits"
    assert Path("out/a.md").read_text() == "## a\n\n- beta"
    assert done.exit_code == 4


def test_nobody_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    done = call("patch", "--rollback")
    assert (done.stdout, done.exit_code) == ("nothing is affected\n", 0)


@pytest.mark.parametrize("args", [[], ["CVE-1", "--rollback"]])
def test_an_advisory_or_a_rollback(args: list[str]) -> None:
    done = call("patch", *args)
    assert done.exit_code == 2
    assert "expected either an advisory or --rollback" in done.stderr
